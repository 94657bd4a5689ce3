#include "comm/comm.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <thread>

#include "base/error.h"
#include "comm/combine.h"

namespace cria {
namespace {

using Clock = std::chrono::steady_clock;

/// Messages of up to this go to everybody at once; larger sums are divided over the ranks.
constexpr int64_t kSmallBytes = 32 << 10;
/// A large sum goes in pieces, so that adding one overlaps with the arrival of the next.
constexpr int64_t kPieceBytes = 1 << 20;

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

std::span<std::byte> bytes_of_rows(View v) {
  return {static_cast<std::byte*>(v.data), static_cast<size_t>(bytes_of(v.dtype, v.elements()))};
}
std::span<const std::byte> bytes_of_rows(ConstView v) {
  return {static_cast<const std::byte*>(v.data),
          static_cast<size_t>(bytes_of(v.dtype, v.elements()))};
}

void copy_rows(ConstView from, View to) {
  if (from.data == to.data) return;
  for (int64_t r = 0; r < from.rows; ++r)
    std::memcpy(to.at(r, 0), from.at(r, 0), static_cast<size_t>(bytes_of(from.dtype, from.cols)));
}

}  // namespace

class Comm::Noted {
 public:
  Noted(CommWorld& world, std::string_view what, const std::string& group, int64_t size)
      : kind(what), bytes(size), log_(world.log), number(log_.begin(what, group, size)) {}
  ~Noted() { log_.end(number); }
  Noted(const Noted&) = delete;
  Noted& operator=(const Noted&) = delete;
  const std::string_view kind;
  const int64_t bytes;

 private:
  OperationLog& log_;

 public:
  const int64_t number;
};

Comm::Comm(CommWorld& world, std::string name, std::vector<int> ranks, int channel)
    : world_(world), name_(std::move(name)), ranks_(std::move(ranks)), channel_(channel) {
  const auto me = std::ranges::find(ranks_, world.transport.rank());
  check(me != ranks_.end(), "a rank is in its own groups");
  rank_ = static_cast<int>(me - ranks_.begin());
}

Comm::Piece Comm::send_piece(std::span<const std::byte> bytes, int to) {
  counters_.bytes_sent += static_cast<int64_t>(bytes.size());
  return {world_.transport.send(ranks_[static_cast<size_t>(to)], channel_, bytes), to};
}
Comm::Piece Comm::receive_piece(std::span<std::byte> bytes, int from) {
  return {world_.transport.receive(ranks_[static_cast<size_t>(from)], channel_, bytes), from};
}

void Comm::wait(std::span<Piece> pieces, const Noted& operation) {
  Patience patience;
  const auto start = Clock::now();
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
  ++counters_.calls;
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

void Comm::all_reduce(View data) {
  if (alone() || data.elements() == 0) return;
  const int64_t bytes = bytes_of(data.dtype, data.elements());
  if (data.dtype == DType::f32 && data.contiguous() && bytes <= kSmallBytes) {
    combine_small(std::span(static_cast<float*>(data.data), static_cast<size_t>(data.elements())),
                  "all_reduce", std::plus<>());
    return;
  }
  const Noted noted(world_, "all_reduce", name_, bytes);
  compare_calls(noted, bytes, static_cast<int>(data.dtype));
  // One long row may be cut anywhere; rows apart only between rows.
  const View rows = data.contiguous() ? View{data.data, data.dtype, data.elements(), 1} : data;
  const int64_t first = begin(rows.rows, rank_);
  const View mine = rows.row_range(first, begin(rows.rows, rank_ + 1) - first);
  reduce_rows(rows, mine, noted);
  gather_rows(mine, rows, noted);
}

void Comm::reduce_scatter(ConstView partial, View mine) {
  if (alone()) return copy_rows(partial, mine);
  const int64_t bytes = bytes_of(partial.dtype, partial.elements());
  const Noted noted(world_, "reduce_scatter", name_, bytes);
  compare_calls(noted, bytes, static_cast<int>(partial.dtype));
  reduce_rows(partial, mine, noted);
}

void Comm::all_gather(ConstView mine, View all) {
  if (alone()) return copy_rows(mine, all);
  const int64_t bytes = bytes_of(all.dtype, all.elements());
  const Noted noted(world_, "all_gather", name_, bytes);
  compare_calls(noted, bytes, static_cast<int>(all.dtype));
  gather_rows(mine, all, noted);
}

/// Rows in pieces: every rank sends each other rank that one's rows, and adds what arrives for its own in the order of the ranks.
void Comm::reduce_rows(ConstView partial, View mine, const Noted& operation) {
  check(mine.dtype == partial.dtype && mine.cols == partial.cols &&
            mine.rows == begin(partial.rows, rank_ + 1) - begin(partial.rows, rank_),
        "reduce_scatter: a rank's rows of the whole");
  const int64_t row_bytes = bytes_of(partial.dtype, partial.cols);
  const int64_t step = std::max<int64_t>(1, kPieceBytes / row_bytes);
  const auto contiguous = [&](ConstView rows, std::vector<std::byte>& space) {
    if (rows.contiguous()) return bytes_of_rows(rows);
    space.resize(static_cast<size_t>(rows.rows * row_bytes));
    copy_rows(rows, {space.data(), rows.dtype, rows.rows, rows.cols});
    return std::span<const std::byte>(space);
  };
  std::vector<Piece> sends;
  std::vector<std::vector<std::byte>> packed(ranks_.size());
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    const int64_t first = begin(partial.rows, r), count = begin(partial.rows, r + 1) - first;
    const auto bytes = contiguous(partial.row_range(first, count), packed[static_cast<size_t>(r)]);
    for (int64_t at = 0; at < count; at += step) {
      const int64_t rows = std::min(step, count - at);
      sends.push_back(send_piece(
          bytes.subspan(static_cast<size_t>(at * row_bytes), static_cast<size_t>(rows * row_bytes)),
          r));
    }
  }
  const auto piece_bytes =
      static_cast<size_t>(std::min(step, std::max<int64_t>(1, mine.rows)) * row_bytes);
  const auto peers = static_cast<size_t>(size() - 1);
  scratch_.resize(std::max(scratch_.size(), 2 * peers * piece_bytes));
  const int64_t mine_first = begin(partial.rows, rank_);
  std::array<std::vector<Piece>, 2> arriving;
  const auto place = [&](int64_t half, size_t peer) {
    return scratch_.data() + (static_cast<size_t>(half) * peers + peer) * piece_bytes;
  };
  const auto expect = [&](int64_t at, int64_t half) {
    const int64_t rows = std::min(step, mine.rows - at);
    arriving[static_cast<size_t>(half)].clear();
    size_t peer = 0;
    for (int r = 0; r < size(); ++r) {
      if (r == rank_) continue;
      arriving[static_cast<size_t>(half)].push_back(
          receive_piece({place(half, peer++), static_cast<size_t>(rows * row_bytes)}, r));
    }
  };
  if (mine.rows > 0) expect(0, 0);
  for (int64_t at = 0, half = 0; at < mine.rows; at += step, half = 1 - half) {
    wait(arriving[static_cast<size_t>(half)], operation);
    if (at + step < mine.rows) expect(at + step, 1 - half);
    const int64_t rows = std::min(step, mine.rows - at);
    std::vector<ConstView> terms;
    size_t peer = 0;
    for (int r = 0; r < size(); ++r) {
      terms.push_back(r == rank_
                          ? partial.row_range(mine_first + at, rows)
                          : ConstView(place(half, peer++), partial.dtype, rows, partial.cols));
    }
    sum_in_order(terms, mine.row_range(at, rows));
  }
  wait(sends, operation);
}

void Comm::gather_rows(ConstView mine, View all, const Noted& operation) {
  const int64_t first = begin(all.rows, rank_);
  check(mine.dtype == all.dtype && mine.cols == all.cols &&
            mine.rows == begin(all.rows, rank_ + 1) - first,
        "all_gather: a rank's rows of the whole");
  copy_rows(mine, all.row_range(first, mine.rows));
  std::vector<std::byte> packed;
  std::span<const std::byte> out = bytes_of_rows(mine);
  if (!mine.contiguous()) {
    packed.resize(out.size());
    copy_rows(mine, {packed.data(), mine.dtype, mine.rows, mine.cols});
    out = packed;
  }
  std::vector<std::vector<std::byte>> spaces(ranks_.size());
  std::vector<Piece> pieces;
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    const View theirs =
        all.row_range(begin(all.rows, r), begin(all.rows, r + 1) - begin(all.rows, r));
    std::span<std::byte> in = bytes_of_rows(theirs);
    if (!all.contiguous()) {
      spaces[static_cast<size_t>(r)].resize(in.size());
      in = spaces[static_cast<size_t>(r)];
    }
    if (!in.empty()) pieces.push_back(receive_piece(in, r));
    if (!out.empty()) pieces.push_back(send_piece(out, r));
  }
  wait(pieces, operation);
  if (all.contiguous()) return;
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    const View theirs =
        all.row_range(begin(all.rows, r), begin(all.rows, r + 1) - begin(all.rows, r));
    copy_rows({spaces[static_cast<size_t>(r)].data(), all.dtype, theirs.rows, theirs.cols}, theirs);
  }
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
  } catch (const Error&) {  // whoever goes on meets the same
  }
}

Comm::Pending Comm::send(std::span<const std::byte> bytes, int to) {
  ++counters_.calls;
  counters_.bytes_sent += static_cast<int64_t>(bytes.size());
  return {*this, world_.transport.send(ranks_[static_cast<size_t>(to)], channel_ + 1, bytes), to,
          static_cast<int64_t>(bytes.size())};
}

void Comm::receive(std::span<std::byte> bytes, int from) {
  const Noted noted(world_, "receive", name_, static_cast<int64_t>(bytes.size()));
  Piece piece{world_.transport.receive(ranks_[static_cast<size_t>(from)], channel_ + 1, bytes),
              from};
  wait({&piece, 1}, noted);
}

}  // namespace cria
