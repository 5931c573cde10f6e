# LibTorch out of the PyTorch wheel in the project's virtual environment (requirements.txt).
#
# Not find_package(Torch): with the wheel's CUDA build that one demands a CUDA toolkit. This module
# imports the libraries that are there: the CPU build's, and the CUDA build's where the wheel has
# them. The wheel's libgomp is linked too, so that a process never holds two OpenMP run-times.
#
#   LibTorch::LibTorch   headers, libraries and run-path
set(CANDOR_PYTHON_ENV ${PROJECT_SOURCE_DIR}/.venv CACHE PATH "The virtual environment with torch")
file(GLOB LibTorch_ROOTS ${CANDOR_PYTHON_ENV}/lib/python3*/site-packages/torch)
list(GET LibTorch_ROOTS 0 LibTorch_ROOT)

find_path(LibTorch_INCLUDE_DIR ATen/ATen.h PATHS ${LibTorch_ROOT}/include NO_DEFAULT_PATH)
find_library(LibTorch_c10 c10 PATHS ${LibTorch_ROOT}/lib NO_DEFAULT_PATH)
find_library(LibTorch_torch_cpu torch_cpu PATHS ${LibTorch_ROOT}/lib NO_DEFAULT_PATH)
find_library(LibTorch_torch torch PATHS ${LibTorch_ROOT}/lib NO_DEFAULT_PATH)
file(GLOB LibTorch_CUDA_LIBRARIES ${LibTorch_ROOT}/lib/libtorch_cuda.so ${LibTorch_ROOT}/lib/libc10_cuda.so)
file(GLOB LibTorch_GOMP ${LibTorch_ROOT}/lib/libgomp*.so*)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_INCLUDE_DIR LibTorch_torch_cpu LibTorch_c10 LibTorch_torch LibTorch_GOMP
  REASON_FAILURE_MESSAGE "LibTorch comes with `make setup` (requirements.txt) in ${CANDOR_PYTHON_ENV}")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  list(GET LibTorch_GOMP 0 LibTorch_GOMP)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE
    ${LibTorch_INCLUDE_DIR} ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include)
  # --no-as-needed: operators register themselves when their library is loaded.
  target_link_libraries(LibTorch::LibTorch INTERFACE
    -Wl,--no-as-needed ${LibTorch_torch} ${LibTorch_torch_cpu} ${LibTorch_c10} ${LibTorch_GOMP}
    ${LibTorch_CUDA_LIBRARIES} -Wl,--as-needed)
  target_compile_options(LibTorch::LibTorch INTERFACE -fopenmp)
  target_link_options(LibTorch::LibTorch INTERFACE -Wl,-rpath,${LibTorch_ROOT}/lib)
endif()
