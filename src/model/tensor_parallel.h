// The residual stream between ranks that share every layer (tensor parallelism). A rank computes some heads and some columns of
// the MLP from whole rows, and its contribution to the stream is summed over the ranks. With sequence parallelism each rank keeps
// only some of the stream's rows (tokens): they are gathered before a split product and scattered by the sum after it.
#pragma once

#include "comm/comm.h"
#include "tensor/tensor.h"

namespace cria {

class TensorParallel {
 public:
  TensorParallel() = default;  // one rank: nothing is cut
  /// `group` outlives the object; null or of one rank is the same as none.
  TensorParallel(Comm* group, bool sequence)
      : group_(group != nullptr && !group->alone() ? group : nullptr),
        sequence_(group_ != nullptr && sequence) {}

  [[nodiscard]] bool alone() const { return group_ == nullptr; }
  [[nodiscard]] bool sequence() const { return sequence_; }
  [[nodiscard]] Comm* group() const { return group_; }

  /// Rows of the stream kept here, of so many tokens.
  [[nodiscard]] int64_t first_row(int64_t tokens) const {
    return sequence_ ? group_->begin(tokens, group_->rank()) : 0;
  }
  [[nodiscard]] int64_t stream_rows(int64_t tokens) const {
    return sequence_ ? group_->begin(tokens, group_->rank() + 1) - first_row(tokens) : tokens;
  }

  /// All tokens' rows of what every rank has its stream rows of. `space` [tokens, cols] is used where rows must be gathered.
  [[nodiscard]] View whole(View rows, View space) const {
    if (!sequence_) return rows;
    group_->all_gather(rows, space);
    return space;
  }
  /// Where a rank's contribution [tokens, cols] to `stream` is to be written before sum().
  [[nodiscard]] View contribution(View stream, View space) const {
    return sequence_ ? space : stream;
  }
  /// stream = the sum over ranks of contribution(stream, space).
  void sum(View stream, View space) const {
    if (group_ == nullptr) return;
    if (sequence_) {
      group_->reduce_scatter(space, stream);
    } else {
      group_->all_reduce(stream);
    }
  }

 private:
  Comm* group_ = nullptr;
  bool sequence_ = false;
};

}  // namespace cria
