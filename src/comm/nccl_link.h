// One end of the way from one rank to another on one channel, for nccl_transport.cc: the messages that wait, and the steps that
// the first of them goes through (see nccl_transport.h).
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "comm/nccl/nccl_table.h"
#include "comm/transport.h"

namespace cria {

class NcclLink;

struct NcclMessage {
  enum class State { waiting, done, failed };
  NcclLink* link;
  std::byte* bytes;
  size_t size;
  State state = State::waiting;
  std::string failure;  // one sentence
};

/// Not safe for several threads; nothing here waits.
class NcclLink {
 public:
  /// `rank`: of nccl.open().
  NcclLink(Transport& control, const CriaNcclTable& nccl, void* rank, int peer, int channel,
           bool sends);
  /// Puts a message at the end of the queue. The bytes belong to it until its state changes.
  std::shared_ptr<NcclMessage> post(std::byte* bytes, size_t size);
  /// Moves things on as far as they go. What fails is noted in the messages.
  void advance();
  /// Fails every message that waits, and those to come. Nothing touches their bytes afterwards.
  void give_up(const std::string& reason);

 private:
  enum class Step { begin, meeting, small, naming, moving };
  /// What the ends tell each other of a message.
  struct Side {
    int64_t bytes, on_device;
  };
  bool step();
  void meet();
  void agree();
  void start();
  void finish();
  /// Starts to send or receive these bytes, of this link's own, over `control`.
  void hand_over(std::span<std::byte> bytes);
  /// Throws Error(rank_died) with NCCL's words.
  void require_nccl(bool ok) const;
  /// True once what was started over `control` is done.
  bool arrived();

  Transport& control_;
  const CriaNcclTable& nccl_;
  void* rank_;
  int peer_, there_, back_;  // channels of `control`, with the messages' direction and against it
  bool sends_;
  void* link_ = nullptr;
  std::deque<std::shared_ptr<NcclMessage>> queue_;
  Step step_ = Step::begin;
  std::string broken_;  // why; empty while it works
  Side mine_{}, theirs_{};
  std::array<unsigned char, kCriaNcclIdBytes> id_{};
  std::vector<std::byte> small_;
  std::unique_ptr<Transfer> out_, in_;
};

}  // namespace cria
