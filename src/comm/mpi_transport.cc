// MPI, loaded when a launcher of MPI started the program.
#include <dlfcn.h>

#include <cstdlib>
#include <exception>

#include "base/error.h"
#include "base/file.h"
#include "comm/mpi/mpi_table.h"
#include "comm/transport.h"

namespace cria {
namespace {

constexpr std::string_view kLibrary = "libcria_mpi.so";

[[noreturn]] void fail(const std::string& reason) {
  throw Error(
      ExitCode::rank_died,
      fmt::format("mpi: {}; try: apt-get install openmpi-bin libopenmpi-dev, then build", reason));
}

const CriaMpiTable& load() {
  const char* given = std::getenv("CRIA_MPI_LIBRARY");
  const std::string path =
      given != nullptr ? given : join_path(program_folder(), std::string(kLibrary));
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) fail(escaped(dlerror(), 300));
  using Entry = const CriaMpiTable* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(library, kCriaMpiSymbol));
  if (entry == nullptr || entry()->version != kCriaMpiVersion)
    fail(path + " is not of this version");
  return *entry();
}

class MpiTransfer : public Transfer {
 public:
  MpiTransfer(const CriaMpiTable& mpi, void* message, int peer)
      : mpi_(mpi), message_(message), peer_(peer) {
    if (message == nullptr)
      throw Error(
          ExitCode::rank_died,
          fmt::format("mpi: no message to rank {}; if it is on another host, try: a network that "
                      "both have, e.g. OMPI_MCA_btl_tcp_if_include=10.0.0.0/24",
                      peer));
  }
  ~MpiTransfer() override {
    if (message_ != nullptr) mpi_.forget(message_);
  }
  MpiTransfer(const MpiTransfer&) = delete;
  MpiTransfer& operator=(const MpiTransfer&) = delete;
  bool done() override {
    if (message_ == nullptr) return true;
    const int state = mpi_.done(message_);
    if (state == 0) return false;
    message_ = nullptr;
    if (state == 1) return true;
    throw Error(ExitCode::rank_died,
                state == -1
                    ? fmt::format("a message of rank {} has another size than expected", peer_)
                    : fmt::format("mpi: a message of rank {} was lost", peer_));
  }

 private:
  const CriaMpiTable& mpi_;
  void* message_;
  int peer_;
};

class MpiTransport : public Transport {
 public:
  MpiTransport() : mpi_(load()) {
    if (mpi_.start(&rank_, &size_) != 0) fail("it does not start");
  }
  ~MpiTransport() override {
    // Leaving is something all ranks do together. One that fails just ends: the launcher sees it and ends the others.
    if (std::uncaught_exceptions() == 0) mpi_.finish();
  }
  MpiTransport(const MpiTransport&) = delete;
  MpiTransport& operator=(const MpiTransport&) = delete;
  [[nodiscard]] int rank() const override { return rank_; }
  [[nodiscard]] int size() const override { return size_; }
  std::unique_ptr<Transfer> send(int peer, int channel, std::span<const std::byte> bytes) override {
    return std::make_unique<MpiTransfer>(mpi_, mpi_.send(peer, channel, bytes.data(), bytes.size()),
                                         peer);
  }
  std::unique_ptr<Transfer> receive(int peer, int channel, std::span<std::byte> bytes) override {
    return std::make_unique<MpiTransfer>(
        mpi_, mpi_.receive(peer, channel, bytes.data(), bytes.size()), peer);
  }

 private:
  const CriaMpiTable& mpi_;
  int rank_ = 0, size_ = 1;
};

}  // namespace

bool started_by_mpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"})
    if (std::getenv(name) != nullptr) return true;
  return false;
}

std::unique_ptr<Transport> mpi_transport() { return std::make_unique<MpiTransport>(); }

}  // namespace cria
