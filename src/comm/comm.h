// A group of ranks that work together, and what they can do together. Every rank of the group makes the same calls in the same
// order with the same sizes; `checked` groups compare that and name what differs.
//
// Sums are taken in the order of the ranks, ((x0 + x1) + x2) + ..., so they repeat bit for bit and do not depend on timing.
// Matrices (Views) and messages of bytes lie in the memory that the settings name, a device's or the host's; what a device was
// asked for before is complete before bytes leave or enter its memory. Spans of numbers lie in the host's.
//
// Waiting has a deadline: whoever waits longer throws Error(no_progress) naming the operation and the ranks not heard from.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/operation_log.h"
#include "comm/spaces.h"
#include "comm/transport.h"
#include "tensor/row_memory.h"
#include "tensor/tensor.h"

namespace cria {

/// Settings that all groups of a rank share.
struct CommSettings {
  std::chrono::milliseconds deadline = std::chrono::seconds(300);
  /// Sends a header (kind, size, type, number) before every message and compares it on arrival.
  bool checked = false;
  /// Where matrices and messages lie; outlives the groups. Null: the host's memory.
  RowMemory* memory = nullptr;
};

/// What the groups of one rank share: the transport, the settings, the log of operations.
struct CommWorld {
  explicit CommWorld(Transport& t, CommSettings s = {});
  const std::unique_ptr<Transport> staged;  // where the transport given takes no device memory
  Transport& transport;
  CommSettings settings;
  Spaces spaces{settings.memory};
  OperationLog log;
  double waited = 0;  // seconds that this rank has waited for others, in all groups
};

class Comm {
  /// A transfer and the rank of the group it is with.
  struct Piece {
    std::unique_ptr<Transfer> transfer;
    int peer;
  };

 public:
  /// The group of these ranks of the world (ascending or in any agreed order; this rank is among them). `name` is for messages:
  /// "dp", "tp", "pp", "world". `channel`: two numbers (channel, channel + 1) that no other group with a common pair of ranks uses.
  /// `blocks`: where each rank's rows stand among all rows, a permutation; empty: in the order of the ranks. Sums keep that order.
  Comm(CommWorld& world, std::string name, std::vector<int> ranks, int channel,
       std::vector<int> blocks = {});

  [[nodiscard]] int rank() const { return rank_; }  // in the group
  [[nodiscard]] int size() const { return static_cast<int>(ranks_.size()); }
  [[nodiscard]] bool alone() const { return ranks_.size() == 1; }
  [[nodiscard]] const std::vector<int>& ranks() const { return ranks_; }
  /// By this rank in this group, so far.
  [[nodiscard]] int64_t bytes_sent() const { return bytes_sent_; }

  void barrier();
  void broadcast(std::span<std::byte> bytes, int root);
  /// Sum over the ranks, the same bits on all. f32, f64 and i64 in their own type; f16 and bf16 are added in f32 and rounded once.
  /// Rows may have a stride.
  void all_reduce(View data);
  void all_reduce(std::span<double> data);
  void all_reduce(std::span<int64_t> data);
  void all_reduce_max(std::span<float> data);

  /// Rows [rows * b / size, rows * (b + 1) / size) belong to the rank of block b.
  template <class V>
  [[nodiscard]] V rows_of(V all, int rank) const {
    const int64_t first = begin(all.rows, rank);
    return all.row_range(first, all.rows * (block_of(rank) + 1) / size() - first);
  }
  [[nodiscard]] int64_t begin(int64_t rows, int rank) const {
    return rows * block_of(rank) / size();
  }
  /// partial [rows, cols] on every rank; mine [my rows, cols] = the sum of everybody's partial rows of mine. `mine` may be a
  /// window of partial at just those rows. Dtypes as all_reduce.
  void reduce_scatter(ConstView partial, View mine);
  /// mine [my rows, cols] -> all [rows, cols], the same on every rank. `mine` may be a window of `all`.
  void all_gather(ConstView mine, View all);

  /// A collective that goes on while the rank computes. Ranks start them in the same order, and one is done only after those that
  /// its group started before. Bytes move only when somebody asks, so ask done() now and then. Other collectives of the group
  /// must wait until they are done.
  class UnderWay {
   public:
    /// Once true, the result is in its place. Never waits.
    bool done();
    /// Throws at the deadline.
    void wait();

   private:
    friend class Comm;
    explicit UnderWay(Comm& comm) : comm_(&comm) {}
    void finish();
    Comm* comm_;
    std::string_view kind_;
    int64_t bytes_ = 0;
    std::vector<Tensor> arrived_;  // of each rank; its own is empty. Outlives the transfers.
    std::vector<Piece> pieces_;
    ConstView own_;
    View mine_;  // where the sum goes; empty when nothing is added
    bool onto_ = false, finished_ = false;
  };
  /// As reduce_scatter; `partial` and `mine` must stay until it is done. With `onto`, mine = ((mine + x0) + x1) + ..., and mine
  /// lies apart from partial.
  [[nodiscard]] UnderWay start_reduce_scatter(ConstView partial, View mine, bool onto = false);
  /// As all_gather of rows_of(all, rank()), which is contiguous.
  [[nodiscard]] UnderWay start_all_gather(View all);

  /// A send under way; its end waits for it. The bytes must stay as they are until then.
  class Pending {
   public:
    Pending(Pending&&) noexcept = default;
    Pending& operator=(Pending&&) = delete;
    /// Waits; gives up at the deadline (a destructor cannot throw: the next operation will).
    ~Pending();
    /// Waits; throws at the deadline.
    void wait();

   private:
    friend class Comm;
    Pending(Comm& comm, std::unique_ptr<Transfer> transfer, int peer, int64_t bytes);
    Comm* comm_;
    std::unique_ptr<Transfer> transfer_;
    int peer_;
    int64_t bytes_;
  };
  /// To and from one rank of the group, on a channel apart from the collectives'; messages between two ranks arrive in order.
  [[nodiscard]] Pending send(std::span<const std::byte> bytes, int to);
  void receive(std::span<std::byte> bytes, int from);

 private:
  /// Notes an operation in the log while it lives.
  class Noted;

  [[nodiscard]] int64_t block_of(int rank) const {
    return blocks_.empty() ? rank : blocks_[static_cast<size_t>(rank)];
  }
  [[nodiscard]] Piece send_piece(std::span<const std::byte> bytes, int to);
  [[nodiscard]] Piece receive_piece(std::span<std::byte> bytes, int from);
  void wait(std::span<Piece> pieces, const Noted& operation);
  /// In checked groups: that all ranks are at the same call.
  void compare_calls(const Noted& operation, int64_t bytes, int type);
  template <class T, class Combine>
  void combine_small(std::span<T> data, std::string_view kind, const Combine& combine);
  void add_small(View data);
  /// Where matrices lie on a device: all that was asked of it has run.
  void settle() const;
  void copy_rows(ConstView from, View to) const;
  void sum_rows(std::span<const ConstView> terms, View out) const;
  /// Rows as one piece: where they lie, or packed into `space`.
  std::span<const std::byte> one_piece(ConstView rows, Tensor& space) const;
  void reduce_rows(ConstView partial, View mine, const Noted& operation);
  void gather_rows(ConstView mine, View all, const Noted& operation);

  CommWorld& world_;
  std::string name_;
  std::vector<int> ranks_, blocks_;
  int rank_ = 0, channel_;
  int64_t bytes_sent_ = 0;
  int64_t collectives_ = 0;  // compared between ranks in checked groups
  Tensor scratch_;
};

}  // namespace cria
