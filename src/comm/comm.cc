#include "comm/comm.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <thread>

#include "base/error.h"
#include "comm/noted.h"
#include "comm/staged_transport.h"

namespace cria {
namespace {

using Clock = std::chrono::steady_clock;

/// Adds the time from `start` to its end to a sum.
class Waiting {
 public:
  Waiting(double& sum, Clock::time_point start) : sum_(sum), start_(start) {}
  ~Waiting() { sum_ += std::chrono::duration<double>(Clock::now() - start_).count(); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  double& sum_;
  Clock::time_point start_;
};

/// Waits a little, and longer the longer it has been waiting: first the answer is usually near, later another rank may need
/// this core.
class Patience {
 public:
  void wait() {
    ++rounds_;
    if (rounds_ < 64) return;
    if (rounds_ < 4096) {
      std::this_thread::yield();
      return;
    }
    const timespec nap = {0, 50'000};
    nanosleep(&nap, nullptr);
  }
  /// The clock is looked at now and then.
  [[nodiscard]] bool time_to_look() const { return rounds_ % 64 == 0; }

 private:
  int64_t rounds_ = 0;
};

}  // namespace

CommWorld::CommWorld(Transport& t, CommSettings s)
    : staged(s.memory != nullptr && !t.takes_device_memory() ? staged_transport(t, *s.memory)
                                                             : nullptr),
      transport(staged != nullptr ? *staged : t),
      settings(s) {}

Comm::Comm(CommWorld& world, std::string name, std::vector<int> ranks, int channel,
           std::vector<int> blocks)
    : world_(world),
      name_(std::move(name)),
      ranks_(std::move(ranks)),
      blocks_(std::move(blocks)),
      channel_(channel) {
  const auto me = std::ranges::find(ranks_, world.transport.rank());
  check(me != ranks_.end(), "a rank is in its own groups");
  rank_ = static_cast<int>(me - ranks_.begin());
}

Comm::Piece Comm::send_piece(std::span<const std::byte> bytes, int to) {
  bytes_sent_ += static_cast<int64_t>(bytes.size());
  return {world_.transport.send(ranks_[static_cast<size_t>(to)], channel_, bytes), to};
}
Comm::Piece Comm::receive_piece(std::span<std::byte> bytes, int from) {
  return {world_.transport.receive(ranks_[static_cast<size_t>(from)], channel_, bytes), from};
}

void Comm::wait(std::span<Piece> pieces, const Noted& operation) {
  Patience patience;
  const auto start = Clock::now();
  const Waiting waiting_time(world_.waited, start);
  for (size_t next = 0; next < pieces.size();) {
    // In any order: a rank that is late must not keep others' messages from moving.
    bool waiting = false;
    for (size_t i = next; i < pieces.size(); ++i) {
      if (pieces[i].transfer == nullptr) continue;
      if (pieces[i].transfer->done()) {
        pieces[i].transfer.reset();
      } else {
        waiting = true;
      }
    }
    while (next < pieces.size() && pieces[next].transfer == nullptr) ++next;
    if (!waiting) continue;
    patience.wait();
    if (!patience.time_to_look() || Clock::now() - start < world_.settings.deadline) continue;
    std::vector<int> silent;
    for (const Piece& p : pieces)
      if (p.transfer != nullptr) silent.push_back(ranks_[static_cast<size_t>(p.peer)]);
    std::ranges::sort(silent);
    silent.erase(std::unique(silent.begin(), silent.end()), silent.end());
    fmt::print(stderr, "last operations of rank {}:\n{}", world_.transport.rank(),
               world_.log.text());
    throw Error(
        ExitCode::no_progress,
        fmt::format("rank {}: {} number {} of group {} ({} bytes) has waited {:.1f} s for rank {}",
                    world_.transport.rank(), operation.kind, operation.number, name_,
                    operation.bytes,
                    std::chrono::duration<double>(world_.settings.deadline).count(),
                    fmt::join(silent, ", ")));
  }
}

void Comm::compare_calls(const Noted& operation, int64_t bytes, int type) {
  ++collectives_;
  if (!world_.settings.checked) return;
  struct Header {
    std::array<char, 16> kind;
    int64_t bytes, call, type;
  };
  Header mine = {{}, bytes, collectives_, type};
  operation.kind.copy(mine.kind.data(), mine.kind.size() - 1);
  std::vector<Header> theirs(ranks_.size());
  std::vector<Piece> pieces;
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    pieces.push_back(send_piece(std::as_bytes(std::span(&mine, 1)), r));
    pieces.push_back(
        receive_piece(std::as_writable_bytes(std::span(&theirs[static_cast<size_t>(r)], 1)), r));
  }
  wait(pieces, operation);
  const auto text = [](const Header& h) {
    return fmt::format("{} of {} bytes, type {}, its call {}", h.kind.data(), h.bytes, h.type,
                       h.call);
  };
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    const Header& h = theirs[static_cast<size_t>(r)];
    require<MismatchError>(
        std::memcmp(&h, &mine, sizeof h) == 0, "group {}: rank {} is at {}, rank {} at {}", name_,
        ranks_[static_cast<size_t>(rank_)], text(mine), ranks_[static_cast<size_t>(r)], text(h));
  }
}

/// Everybody gets everybody's and combines in the order of the ranks.
template <class T, class Combine>
void Comm::combine_small(std::span<T> data, std::string_view kind, const Combine& combine) {
  if (alone()) return;
  const auto bytes = static_cast<int64_t>(data.size_bytes());
  const Noted noted(world_, kind, name_, bytes);
  compare_calls(noted, bytes, static_cast<int>(sizeof(T)));
  const size_t n = data.size();
  std::vector<T> all(n * ranks_.size());
  std::ranges::copy(data, all.begin() + static_cast<long>(n) * rank_);
  std::vector<Piece> pieces;
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    const std::span<T> theirs(all.data() + n * static_cast<size_t>(r), n);
    pieces.push_back(receive_piece(std::as_writable_bytes(theirs), r));
    pieces.push_back(send_piece(std::as_bytes(data), r));
  }
  wait(pieces, noted);
  std::ranges::copy(std::span(all).first(n), data.begin());
  for (size_t r = 1; r < ranks_.size(); ++r)
    for (size_t i = 0; i < n; ++i) data[i] = combine(data[i], all[r * n + i]);
}

void Comm::settle() const {
  if (world_.settings.memory != nullptr) world_.settings.memory->wait();
}

void Comm::add_small(View data) {
  RowMemory* const memory = world_.settings.memory;
  std::vector<float> here(memory != nullptr ? static_cast<size_t>(data.elements()) : 0);
  const std::span<float> numbers =
      memory != nullptr
          ? std::span(here)
          : std::span(static_cast<float*>(data.data), static_cast<size_t>(data.elements()));
  if (memory != nullptr) memory->read(here.data(), data.data, numbers.size_bytes());
  combine_small(numbers, "all_reduce", std::plus<>());
  if (memory != nullptr) memory->write(data.data, here.data(), numbers.size_bytes());
}

void Comm::barrier() {
  std::array<int64_t, 1> nothing{};
  combine_small(std::span<int64_t>(nothing), "barrier", std::plus<>());
}

void Comm::broadcast(std::span<std::byte> bytes, int root) {
  if (alone()) return;
  const Noted noted(world_, "broadcast", name_, static_cast<int64_t>(bytes.size()));
  compare_calls(noted, static_cast<int64_t>(bytes.size()), root);
  std::vector<Piece> pieces;
  if (rank_ != root) {
    pieces.push_back(receive_piece(bytes, root));
  } else {
    for (int r = 0; r < size(); ++r)
      if (r != root) pieces.push_back(send_piece(bytes, r));
  }
  wait(pieces, noted);
}

void Comm::all_reduce(std::span<double> data) { combine_small(data, "all_reduce", std::plus<>()); }
void Comm::all_reduce(std::span<int64_t> data) { combine_small(data, "all_reduce", std::plus<>()); }
void Comm::all_reduce_max(std::span<float> data) {
  combine_small(data, "all_reduce_max", [](float a, float b) { return std::max(a, b); });
}

Comm::Pending::Pending(Comm& comm, std::unique_ptr<Transfer> transfer, int peer, int64_t bytes)
    : comm_(&comm), transfer_(std::move(transfer)), peer_(peer), bytes_(bytes) {}

void Comm::Pending::wait() {
  if (transfer_ == nullptr || transfer_->done()) {
    transfer_.reset();
    return;
  }
  const Noted noted(comm_->world_, "send", comm_->name_, bytes_);
  Piece piece{std::move(transfer_), peer_};
  comm_->wait({&piece, 1}, noted);
}

Comm::Pending::~Pending() {
  try {
    wait();
  } catch (const Error& e) {  // whoever goes on meets the same, and throws
    warn(e.what());
  }
}

Comm::Pending Comm::send(std::span<const std::byte> bytes, int to) {
  settle();
  bytes_sent_ += static_cast<int64_t>(bytes.size());
  return {*this, world_.transport.send(ranks_[static_cast<size_t>(to)], channel_ + 1, bytes), to,
          static_cast<int64_t>(bytes.size())};
}

void Comm::receive(std::span<std::byte> bytes, int from) {
  settle();
  const Noted noted(world_, "receive", name_, static_cast<int64_t>(bytes.size()));
  Piece piece{world_.transport.receive(ranks_[static_cast<size_t>(from)], channel_ + 1, bytes),
              from};
  wait({&piece, 1}, noted);
}

}  // namespace cria
