#include "common.h"

PYBIND11_MODULE(_core, module) {
  namespace py = pybind11;
  module.doc() =
      "Candor's core: SW-Max and affine-maximizer payments (Sun et al., arXiv 2405.16276).";
  module.attr("__version__") = CANDOR_VERSION;
  py::register_exception<candor::python::CandorError>(module, "CandorError", PyExc_ValueError);
  candor::python::bind_game(module);
  candor::python::bind_table(module);
  candor::python::bind_audit(module);
  candor::python::bind_lab(module);
}
