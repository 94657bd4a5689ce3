// NCCL where it is installed.
#include <dlfcn.h>

#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "comm/local_device.h"
#include "comm/nccl_transport.h"

namespace cria {
namespace {

[[noreturn]] void fail(const std::string& reason, std::string_view hint) {
  throw Error(ExitCode::rank_died, fmt::format("nccl: {}; try: {}", reason, hint));
}

const CriaNcclTable& load() {
  constexpr std::string_view hint = "./dev setup --cuda, then build; or CRIA_TRANSPORT=mpi";
  const char* const given = std::getenv("CRIA_NCCL_LIBRARY");
  const std::string path =
      given != nullptr ? given : join_path(program_folder(), "libcria_nccl.so");
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) fail(escaped(dlerror(), 300), hint);
  using Entry = const CriaNcclTable* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(library, kCriaNcclSymbol));
  if (entry == nullptr || entry()->version != kCriaNcclVersion)
    fail(escaped(path, 200) + " is not of this version", hint);
  return *entry();
}

/// Holds what the other transport stands on.
class OnControl : public Transport {
 public:
  OnControl(std::unique_ptr<Transport> control, const CriaNcclTable& nccl, int device)
      : control_(std::move(control)), inner_(nccl_transport(*control_, nccl, device)) {}
  [[nodiscard]] int rank() const override { return inner_->rank(); }
  [[nodiscard]] int size() const override { return inner_->size(); }
  [[nodiscard]] bool takes_device_memory() const override { return inner_->takes_device_memory(); }
  std::unique_ptr<Transfer> send(int peer, int channel, std::span<const std::byte> bytes) override {
    return inner_->send(peer, channel, bytes);
  }
  std::unique_ptr<Transfer> receive(int peer, int channel, std::span<std::byte> bytes) override {
    return inner_->receive(peer, channel, bytes);
  }

 private:
  std::unique_ptr<Transport> control_, inner_;
};

}  // namespace

std::unique_ptr<Transport> nccl_transport(std::unique_ptr<Transport> control) {
  const CriaNcclTable& nccl = load();
  const int devices = nccl.devices();
  if (devices < 0)
    fail("CUDA does not start: " + escaped(nccl.error(), 200),
         "CRIA_TRANSPORT=mpi, which needs no GPU");
  const int device = local_device(devices);
  return std::make_unique<OnControl>(std::move(control), nccl, device);
}

}  // namespace cria
