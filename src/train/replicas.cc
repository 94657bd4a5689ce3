#include "train/replicas.h"

#include <vector>

#include "base/error.h"
#include "base/file_sums.h"

namespace cria {
namespace {

/// A number that each weight's bytes make, 0 for those that `wanted` passes over.
template <class Wanted>
std::vector<int64_t> sums_of_weights(const ParamArena& weights, const Wanted& wanted) {
  std::vector<int64_t> sums;
  for (int64_t i = 0; i < std::ssize(weights.params()); ++i) {
    const bool counts = wanted(weights.params()[static_cast<size_t>(i)]);
    uint64_t sum = 0;
    // Pieces are cut by shape, so ranks with the same rows cut them alike.
    if (counts)
      weights.for_bytes(weights[i], [&](std::span<const std::byte> piece) {
        sum = sum * 0x100000001b3 + crc32c(piece);
      });
    sums.push_back(static_cast<int64_t>(sum));
  }
  return sums;
}

void compare(const ParamArena& weights, const std::vector<int64_t>& sums, Comm& group,
             int64_t step) {
  std::vector<int64_t> all(sums.size() * static_cast<size_t>(group.size()));
  std::ranges::copy(sums, all.begin() + group.rank() * std::ssize(sums));
  group.all_reduce(all);  // everybody's place is nothing but zeros elsewhere
  for (int r = 1; r < group.size(); ++r) {
    for (size_t i = 0; i < sums.size(); ++i) {
      if (all[static_cast<size_t>(r) * sums.size() + i] == all[i]) continue;
      throw Error(ExitCode::numbers,
                  fmt::format("train: after step {} {} differs between rank {} and rank {}; try: "
                              "--resume_training from the newest checkpoint",
                              step, weights.params()[i].name, group.ranks()[0],
                              group.ranks()[static_cast<size_t>(r)]));
    }
  }
}

}  // namespace

void check_replicas(const ParamArena& weights, Groups& groups, int64_t step) {
  if (!groups.dp.alone()) {
    const auto all = [](const Param& p) { return !p.sharded; };
    compare(weights, sums_of_weights(weights, all), groups.dp, step);
  }
  if (!groups.copies.alone()) {
    const auto cut = [](const Param& p) { return p.sharded; };
    compare(weights, sums_of_weights(weights, cut), groups.copies, step);
  }
  if (!groups.tp.alone()) {
    const auto not_split = [](const Param& p) { return p.whole(); };
    compare(weights, sums_of_weights(weights, not_split), groups.tp, step);
  }
}

}  // namespace cria
