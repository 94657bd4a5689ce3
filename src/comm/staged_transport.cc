#include "comm/staged_transport.h"

#include <utility>

namespace cria {
namespace {

class StagedSend : public Transfer {
 public:
  StagedSend(Transport& transport, int peer, int channel, std::vector<std::byte> copy)
      : copy_(std::move(copy)), inner_(transport.send(peer, channel, copy_)) {}
  bool done() override { return inner_->done(); }

 private:
  std::vector<std::byte> copy_;  // outlives the transfer that reads it
  std::unique_ptr<Transfer> inner_;
};

class StagedReceive : public Transfer {
 public:
  StagedReceive(Transport& transport, RowMemory& memory, int peer, int channel,
                std::span<std::byte> to)
      : memory_(memory),
        to_(to),
        here_(to.size()),
        inner_(transport.receive(peer, channel, here_)) {}
  bool done() override {
    if (arrived_) return true;
    if (!inner_->done()) return false;
    memory_.write(to_.data(), here_.data(), here_.size());
    arrived_ = true;
    return true;
  }

 private:
  RowMemory& memory_;
  std::span<std::byte> to_;
  std::vector<std::byte> here_;
  std::unique_ptr<Transfer> inner_;
  bool arrived_ = false;
};

class StagedTransport : public Transport {
 public:
  StagedTransport(Transport& transport, RowMemory& memory)
      : transport_(transport), memory_(memory) {}
  [[nodiscard]] int rank() const override { return transport_.rank(); }
  [[nodiscard]] int size() const override { return transport_.size(); }
  [[nodiscard]] bool takes_device_memory() const override { return true; }
  std::unique_ptr<Transfer> send(int peer, int channel, std::span<const std::byte> bytes) override {
    if (!staged(bytes)) return transport_.send(peer, channel, bytes);
    std::vector<std::byte> copy(bytes.size());
    memory_.read(copy.data(), bytes.data(), bytes.size());
    return std::make_unique<StagedSend>(transport_, peer, channel, std::move(copy));
  }
  std::unique_ptr<Transfer> receive(int peer, int channel, std::span<std::byte> bytes) override {
    if (!staged(bytes)) return transport_.receive(peer, channel, bytes);
    return std::make_unique<StagedReceive>(transport_, memory_, peer, channel, bytes);
  }

 private:
  [[nodiscard]] bool staged(std::span<const std::byte> bytes) const {
    return !bytes.empty() && memory_.holds(bytes.data());
  }

  Transport& transport_;
  RowMemory& memory_;
};

}  // namespace

std::unique_ptr<Transport> staged_transport(Transport& transport, RowMemory& memory) {
  return std::make_unique<StagedTransport>(transport, memory);
}

}  // namespace cria
