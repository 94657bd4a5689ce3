// Token ids that are a pure function of the seed.
#pragma once

#include <cstdint>
#include <vector>

#include "base/random.h"

namespace cria {

inline std::vector<int32_t> random_ids(int64_t count, int64_t vocab, uint64_t seed) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<int32_t>(random_bits(seed, 1, static_cast<uint64_t>(i)) %
                                       static_cast<uint64_t>(vocab)));
  return ids;
}

}  // namespace cria
