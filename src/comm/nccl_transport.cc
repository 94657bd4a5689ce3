#include "comm/nccl_transport.h"

#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <tuple>

#include "base/error.h"
#include "comm/nccl_link.h"

namespace cria {
namespace {

/// Where the messages of one rank are moved on.
class Engine {
 public:
  Engine(Transport& control, const CriaNcclTable& nccl, int device)
      : control_(control), nccl_(nccl), rank_(nccl.open(device)) {
    if (rank_ == nullptr)
      throw Error(ExitCode::rank_died,
                  fmt::format("nccl: device {}: {}", device, escaped(nccl.error(), 200)));
  }
  ~Engine() {
    // Leaving is something all ranks do together, unless something failed.
    const bool failed = failed_ || std::uncaught_exceptions() > 0;
    links_.clear();
    nccl_.close(rank_, failed ? 1 : 0);
  }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  std::shared_ptr<NcclMessage> post(int peer, int channel, bool sends, std::byte* bytes,
                                    size_t size) {
    check(channel >= 0 && channel < 1 << 19, "a channel of NCCL is below 2^19");
    const std::lock_guard lock(mutex_);
    auto& link = links_[{peer, channel, sends}];
    if (link == nullptr)
      link = std::make_unique<NcclLink>(control_, nccl_, rank_, peer, channel, sends);
    auto message = link->post(bytes, size);
    link->advance();
    return message;
  }
  bool done(const NcclMessage& message) {
    const std::lock_guard lock(mutex_);
    if (message.state == NcclMessage::State::waiting) {
      // All of them: this rank may be waiting for one whose sender waits for another.
      for (auto& [key, link] : links_) link->advance();
    }
    if (message.state != NcclMessage::State::failed)
      return message.state == NcclMessage::State::done;
    failed_ = true;
    throw Error(ExitCode::rank_died, message.failure);
  }
  void drop(const NcclMessage& message) {
    const std::lock_guard lock(mutex_);
    if (message.state != NcclMessage::State::waiting) return;
    failed_ = true;
    message.link->give_up("nccl: a message before it was given up");
  }

 private:
  Transport& control_;
  const CriaNcclTable& nccl_;
  void* rank_;
  bool failed_ = false;
  std::mutex mutex_;
  std::map<std::tuple<int, int, bool>, std::unique_ptr<NcclLink>> links_;
};

class NcclTransfer : public Transfer {
 public:
  NcclTransfer(Engine& engine, std::shared_ptr<NcclMessage> message)
      : engine_(engine), message_(std::move(message)) {}
  ~NcclTransfer() override { engine_.drop(*message_); }
  NcclTransfer(const NcclTransfer&) = delete;
  NcclTransfer& operator=(const NcclTransfer&) = delete;
  bool done() override { return engine_.done(*message_); }

 private:
  Engine& engine_;
  std::shared_ptr<NcclMessage> message_;
};

class NcclTransport : public Transport {
 public:
  NcclTransport(Transport& control, const CriaNcclTable& nccl, int device)
      : control_(control), engine_(control, nccl, device) {}
  [[nodiscard]] int rank() const override { return control_.rank(); }
  [[nodiscard]] int size() const override { return control_.size(); }
  [[nodiscard]] bool takes_device_memory() const override { return true; }
  std::unique_ptr<Transfer> send(int peer, int channel, std::span<const std::byte> bytes) override {
    // A sender's bytes are only read.
    auto* const data = const_cast<std::byte*>(bytes.data());
    return std::make_unique<NcclTransfer>(engine_,
                                          engine_.post(peer, channel, true, data, bytes.size()));
  }
  std::unique_ptr<Transfer> receive(int peer, int channel, std::span<std::byte> bytes) override {
    return std::make_unique<NcclTransfer>(
        engine_, engine_.post(peer, channel, false, bytes.data(), bytes.size()));
  }

 private:
  Transport& control_;
  Engine engine_;
};

}  // namespace

std::unique_ptr<Transport> nccl_transport(Transport& control, const CriaNcclTable& nccl,
                                          int device) {
  return std::make_unique<NcclTransport>(control, nccl, device);
}

}  // namespace cria
