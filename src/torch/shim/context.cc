// Global switches of libtorch and the loading of its CUDA part.
#include "shim.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/autocast_mode.h>
#include <dlfcn.h>
#include <stdlib.h>

#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace recap {

// A training step frees and takes the same few hundred megabytes over and over. By default glibc hands large blocks
// back to the kernel at once, which then has to zero every page again. It also gives threads heaps of their own, which
// go back when they are empty whatever the other settings say: a single heap for all keeps the batches of the loader.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
#endif
}

rust::String cpu_capability() { return rust::String(at::get_cpu_capability()); }

// Makes libtorch's generator on first use, which asks the system for random bytes and may be refused.
void manual_seed(int64_t seed) { at::manual_seed(static_cast<uint64_t>(seed)); }

void set_tf32(bool on) {
  auto& context = at::globalContext();
  context.setAllowTF32CuDNN(on);
  context.setAllowTF32CuBLAS(on);
}

void set_autocast(bool cuda, bool on) {
  const auto device = cuda ? at::kCUDA : at::kCPU;
  if (on) {
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::increment_nesting();
  } else if (at::autocast::decrement_nesting() == 0) {
    at::autocast::clear_cache();
  }
  at::autocast::set_autocast_enabled(device, on);
}

// The folder of the libtorch_cpu that this process runs on. The address is asked of the dynamic linker:
// a function pointer taken here may lie in the executable's own jump table.
static std::string libtorch_folder() {
  Dl_info info{};
  void* symbol = dlsym(RTLD_DEFAULT, "_ZN2at13globalContextEv");
  if (symbol == nullptr || dladdr(symbol, &info) == 0) return "";
  const std::string file(info.dli_fname);
  return file.substr(0, file.rfind('/'));
}

// Must run before the first question about CUDA: loading registers the CUDA hooks and kernels.
// Returns why CUDA cannot be had, or nothing.
rust::String load_cuda() {
  const std::string folder = libtorch_folder();
  for (const char* name : {"libc10_cuda.so", "libtorch_cuda.so"}) {
    if (dlopen((folder + "/" + name).c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) return rust::String(dlerror());
  }
  return rust::String();
}

}  // namespace recap
