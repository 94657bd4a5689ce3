// Whether ranks that hold the same really do.
#pragma once

#include <cstdint>

#include "comm/groups.h"
#include "model/params.h"

namespace cria {

/// Compares a sum of every weight over the ranks that hold it alike: all of a rank's over data-parallel ranks (rows that are
/// cut over them, over those that have a copy of the same rows), those that are not split over tensor-parallel ones. All ranks call it. Throws Error(numbers) naming tensor, ranks and step: memory or a
/// network lied, and which rank is right nobody knows.
void check_replicas(const ParamArena& weights, Groups& groups, int64_t step);

}  // namespace cria
