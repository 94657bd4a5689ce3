// Collectives that go on while the rank computes.
#include <algorithm>

#include "base/error.h"
#include "comm/comm.h"
#include "comm/noted.h"

namespace cria {

Comm::UnderWay Comm::start_reduce_scatter(ConstView partial, View mine, bool onto) {
  check(partial.contiguous() && mine.dtype == partial.dtype && mine.cols == partial.cols &&
            mine.rows == rows_of(partial, rank_).rows,
        "start_reduce_scatter: a rank's rows of the whole");
  UnderWay sum(*this);
  settle();
  sum.kind_ = "reduce_scatter";
  sum.bytes_ = static_cast<int64_t>(bytes_of(partial).size());
  sum.own_ = rows_of(partial, rank_);
  sum.mine_ = mine;
  sum.onto_ = onto;
  sum.arrived_.resize(ranks_.size());
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    Tensor& space = sum.arrived_[static_cast<size_t>(r)];
    space = world_.spaces.take(bytes_of(sum.own_).size());
    if (space.size_bytes() > 0) sum.pieces_.push_back(receive_piece(space.bytes(), r));
    const std::span<const std::byte> theirs = bytes_of(rows_of(partial, r));
    if (!theirs.empty()) sum.pieces_.push_back(send_piece(theirs, r));
  }
  return sum;
}

Comm::UnderWay Comm::start_all_gather(View all) {
  check(all.contiguous(), "start_all_gather: rows in one piece");
  UnderWay gather(*this);
  settle();
  gather.kind_ = "all_gather";
  gather.bytes_ = static_cast<int64_t>(bytes_of(all).size());
  const std::span<const std::byte> mine = bytes_of(rows_of(all, rank_));
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    const std::span<std::byte> theirs = bytes_of(rows_of(all, r));
    if (!theirs.empty()) gather.pieces_.push_back(receive_piece(theirs, r));
    if (!mine.empty()) gather.pieces_.push_back(send_piece(mine, r));
  }
  return gather;
}

/// What has arrived is added in the order of the ranks.
void Comm::UnderWay::finish() {
  finished_ = true;
  if (mine_.data == nullptr || mine_.rows == 0) return;
  std::vector<ConstView> terms;
  if (onto_) terms.emplace_back(mine_);
  for (int r = 0; r < comm_->size(); ++r) {
    terms.push_back(r == comm_->rank_ ? own_
                                      : ConstView(arrived_[static_cast<size_t>(r)].bytes().data(),
                                                  mine_.dtype, mine_.rows, mine_.cols));
  }
  comm_->sum_rows(terms, mine_);
  // Whoever takes them next settles before anything arrives there.
  for (Tensor& space : arrived_)
    if (space.size_bytes() > 0) comm_->world_.spaces.give(std::move(space));
  arrived_.clear();
}

bool Comm::UnderWay::done() {
  if (finished_) return true;
  std::erase_if(pieces_, [](Piece& p) { return p.transfer->done(); });
  if (!pieces_.empty()) return false;
  finish();
  return true;
}

void Comm::UnderWay::wait() {
  if (done()) return;
  const Noted noted(comm_->world_, kind_, comm_->name_, bytes_);
  comm_->wait(pieces_, noted);
  pieces_.clear();
  finish();
}

}  // namespace cria
