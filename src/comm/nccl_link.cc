#include "comm/nccl_link.h"

#include <cstring>

#include "base/error.h"

namespace cria {
namespace {

// A piece of 4 MiB takes longer to move than the calls around it.
constexpr size_t kPieceBytes = size_t{4} << 20;
// Below that MPI is quicker than two copies and two kernels, and most channels of small messages need no communicator.
constexpr int64_t kSmallBytes = 16 << 10;

}  // namespace

NcclLink::NcclLink(Transport& control, const CriaNcclTable& nccl, void* rank, int peer, int channel,
                   bool sends)
    : control_(control),
      nccl_(nccl),
      rank_(rank),
      peer_(peer),
      there_(2 * channel),
      back_(2 * channel + 1),
      sends_(sends) {}

std::shared_ptr<NcclMessage> NcclLink::post(std::byte* bytes, size_t size) {
  auto message = std::make_shared<NcclMessage>(NcclMessage{this, bytes, size});
  queue_.push_back(message);
  if (!broken_.empty()) give_up(broken_);
  return message;
}

void NcclLink::give_up(const std::string& reason) {
  if (broken_.empty()) {
    broken_ = reason;
    if (link_ != nullptr) nccl_.abort_link(link_);
  }
  for (const auto& message : queue_) {
    message->failure = broken_;
    message->state = NcclMessage::State::failed;
  }
  queue_.clear();
}

void NcclLink::advance() {
  try {
    while (!queue_.empty() && step()) {
    }
  } catch (const Error& e) {
    give_up(e.what());
  }
}

void NcclLink::require_nccl(bool ok) const {
  if (ok) return;
  throw Error(ExitCode::rank_died,
              fmt::format("nccl: a message {} rank {} on channel {}: {}", sends_ ? "to" : "from",
                          peer_, there_ / 2, escaped(nccl_.error(), 300)));
}

bool NcclLink::step() {
  switch (step_) {
    case Step::begin:
      meet();
      return true;
    case Step::meeting:
      if (!arrived()) return false;
      agree();
      return true;
    case Step::small:
      if (!arrived()) return false;
      if (!sends_) std::memcpy(queue_.front()->bytes, small_.data(), small_.size());
      finish();
      return true;
    case Step::naming:
      if (!arrived()) return false;
      link_ = nccl_.connect(rank_, id_.data(), sends_ ? 1 : 0);
      require_nccl(link_ != nullptr);
      start();
      return true;
    case Step::moving: {
      const int state = nccl_.done(link_);
      require_nccl(state >= 0);
      if (state == 0) return false;
      finish();
      return true;
    }
  }
  return false;
}

void NcclLink::meet() {
  const NcclMessage& message = *queue_.front();
  const int place = message.size == 0 ? 0 : nccl_.on_device(rank_, message.bytes);
  require_nccl(place >= 0);
  mine_ = {static_cast<int64_t>(message.size), place};
  out_ = control_.send(peer_, sends_ ? there_ : back_, std::as_bytes(std::span(&mine_, 1)));
  in_ = control_.receive(peer_, sends_ ? back_ : there_,
                         std::as_writable_bytes(std::span(&theirs_, 1)));
  step_ = Step::meeting;
}

/// Both sides are known at both ends, so both choose the same way.
void NcclLink::agree() {
  if (mine_.bytes != theirs_.bytes)
    throw Error(ExitCode::rank_died,
                sends_ ? fmt::format("a message of {} bytes to rank {}, which expects {}",
                                     mine_.bytes, peer_, theirs_.bytes)
                       : fmt::format("a message of {} bytes from rank {}, expected {}",
                                     theirs_.bytes, peer_, mine_.bytes));
  if (mine_.bytes == 0) return finish();
  const bool both_on_host = mine_.on_device == 0 && theirs_.on_device == 0;
  if (both_on_host && mine_.bytes <= kSmallBytes) {
    // In memory of the link: what was begun over `control` cannot be taken back when the message is given up.
    const std::byte* const bytes = queue_.front()->bytes;
    small_.assign(bytes, bytes + mine_.bytes);
    hand_over(small_);
    step_ = Step::small;
    return;
  }
  if (link_ != nullptr) return start();
  if (sends_) require_nccl(nccl_.new_id(rank_, id_.data()) == 0);
  hand_over(std::as_writable_bytes(std::span(id_)));
  step_ = Step::naming;
}

void NcclLink::start() {
  const NcclMessage& message = *queue_.front();
  // The ends must cut alike, also when only one of them stages.
  const bool cut = mine_.on_device == 0 || theirs_.on_device == 0;
  step_ = Step::moving;
  require_nccl(nccl_.start(link_, message.bytes, message.size, cut ? kPieceBytes : message.size,
                           mine_.on_device == 0 ? 1 : 0) == 0);
}

void NcclLink::finish() {
  queue_.front()->state = NcclMessage::State::done;
  queue_.pop_front();
  step_ = Step::begin;
}

void NcclLink::hand_over(std::span<std::byte> bytes) {
  if (sends_) {
    out_ = control_.send(peer_, there_, bytes);
  } else {
    in_ = control_.receive(peer_, there_, bytes);
  }
}

bool NcclLink::arrived() {
  if (out_ != nullptr && out_->done()) out_.reset();
  if (in_ != nullptr && in_->done()) in_.reset();
  return out_ == nullptr && in_ == nullptr;
}

}  // namespace cria
