#include "ops/cuda_device.h"

#include <dlfcn.h>

#include <cstdlib>

#include "base/error.h"
#include "base/file.h"

namespace cria::ops {
namespace {

const CudaLibrary& cuda_library() {
  const char* const given = std::getenv("CRIA_CUDA_LIBRARY");
  const std::string path =
      given != nullptr ? given : join_path(program_folder(), "libcria_cuda.so");
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  // The linker's words come first for a library that is there but does not load.
  require(library != nullptr,
          "no GPU can be used: {}; try: a build where CMake finds CUDA (docs/gpu.md), or the CPU",
          library == nullptr ? escaped(dlerror(), 300) : "");
  using Entry = const CudaLibrary* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(library, kCudaLibrarySymbol));
  require(entry != nullptr && entry()->version == kCudaLibraryVersion,
          "no GPU can be used: {} is not of this version; try: the library of the same build",
          escaped(path, 200));
  return *entry();
}

}  // namespace

std::unique_ptr<Device> open_cuda_device(int number) { return cuda_library().open(number); }
int cuda_devices() { return cuda_library().devices(); }

}  // namespace cria::ops
