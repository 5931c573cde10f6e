#include "lm/kernel_setup.h"

#include <ATen/ATen.h>
#include <ATen/Version.h>
#include <torch/headeronly/version.h>

#include <array>
#include <cstdlib>

#include "base/cpu.h"

namespace candor {

namespace {

// What an instruction set is called by each library.
struct LibraryNames {
  const char* onednn;
  const char* aten;
  const char* mkl;
};

constexpr std::array<LibraryNames, kInstructionSetNames.size()> kLibraryNames = {
    {{"SSE41", "default", "SSE4_2"},
     {"AVX2", "avx2", "AVX2"},
     {"AVX512_CORE", "avx512", "AVX512"},
     {"AVX512_CORE_BF16", "avx512", "AVX512"},
     {"AVX512_CORE_AMX", "avx512", "AVX512"}}};

void hold_libraries() {
  const LibraryNames& names = kLibraryNames.at(static_cast<size_t>(instruction_set()));
  setenv("ONEDNN_MAX_CPU_ISA", names.onednn, 1);
  setenv("ATEN_CPU_CAPABILITY", names.aten, 1);
  setenv("MKL_ENABLE_INSTRUCTIONS", names.mkl, 1);
}

void bound_caches() {
  constexpr const char* kProducts = "64";
  setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", kProducts, 0);  // oneDNN's own
  setenv("LRU_CACHE_CAPACITY", kProducts, 0);               // ATen's
}

void call_vector_functions() {
  const at::Tensor values = at::full({16}, 0.5, at::kFloat);
  (void)at::exp(values);
  (void)at::expm1(values);
  (void)at::log(values);
  (void)at::log1p(values);
  (void)at::sin(values);
  (void)at::cos(values);
  (void)at::tanh(values);
  (void)at::erf(values);
  (void)at::sqrt(values);
}

}  // namespace

void set_up_kernels() {
  hold_libraries();
  bound_caches();
  call_vector_functions();
}

std::string torch_version() { return TORCH_VERSION; }

std::string aten_capability() { return at::get_cpu_capability(); }

}  // namespace candor
