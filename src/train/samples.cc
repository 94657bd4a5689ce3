#include "train/samples.h"

#include <algorithm>

#include "base/error.h"

namespace cria {

void Samples::clear() {
  ids.clear();
  targets.clear();
  positions.clear();
  documents.assign(1, 0);
}

void Samples::add(std::span<const int32_t> sample_ids, std::span<const int32_t> sample_targets) {
  check(sample_ids.size() == sample_targets.size(), "a sample has one target per token");
  ids.insert(ids.end(), sample_ids.begin(), sample_ids.end());
  targets.insert(targets.end(), sample_targets.begin(), sample_targets.end());
  for (size_t t = 0; t < sample_ids.size(); ++t) positions.push_back(static_cast<int32_t>(t));
  documents.push_back(static_cast<int64_t>(ids.size()));
}

int64_t Samples::trained() const {
  return std::count_if(targets.begin(), targets.end(), [](int32_t t) { return t >= 0; });
}

}  // namespace cria
