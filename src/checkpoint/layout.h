// What a layout means: which part of a tensor a device holds. docs/resharding.md has the rules and
// a worked example.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "formats/strategy_file.h"

namespace cria {

/// A box inside a tensor: elements [begin, begin + size) along every dim.
struct Part {
  std::vector<int64_t> begin, size;
  bool operator==(const Part&) const = default;
};

/// The box of a whole tensor.
Part whole(std::span<const int64_t> shape);

/// How many equal parts each of a tensor's `dims` dims is cut into, the optimizer shard included.
/// Throws MismatchError naming the parameter when the layout is not one for so many dims.
std::vector<int64_t> cuts_of(const ParamLayout& layout, size_t dims, std::string_view name);

/// The part of a tensor of the given whole shape that device `rank` of a stage holds (ranks beyond
/// the grid wrap round). Throws MismatchError when a size does not divide.
Part part_of(const ParamLayout& layout, std::span<const int64_t> shape, int64_t rank,
             std::string_view name);

}  // namespace cria
