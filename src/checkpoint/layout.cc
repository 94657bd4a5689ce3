#include "checkpoint/layout.h"

#include <algorithm>

#include "base/error.h"

namespace cria {
namespace {

// Which dims of the grid split each dim of a tensor, outermost first.
using GridDims = std::vector<std::vector<size_t>>;

GridDims grid_dims(const ParamLayout& layout, size_t dims, std::string_view name) {
  const size_t grid = layout.dev_matrix.size();
  const auto& maps = layout.tensor_map;
  GridDims out(dims);
  const auto add = [&](size_t dim, int64_t entry) {
    if (entry >= 0) out[dim].push_back(grid - 1 - static_cast<size_t>(entry));
  };
  if (maps.size() == 1 && maps[0].size() == dims) {
    for (size_t d = 0; d < dims; ++d) add(d, maps[0][d]);
    return out;
  }
  // The newer form: a map per dim, where -1 stands alone. A lone number has nothing to split,
  // whatever map it was given.
  const bool number_whole = dims == 0 && maps.size() == 1 && maps[0] == std::vector<int64_t>{-1};
  const bool map_per_dim = maps.size() == dims && std::ranges::all_of(maps, [](const auto& map) {
                             return map.size() < 2 || std::ranges::count(map, -1) == 0;
                           });
  require<MismatchError>(map_per_dim || number_whole,
                         "transform: the layout of \"{}\" is for {} dims, but the parameter has {}",
                         escaped(name, 80), maps.size() == 1 ? maps[0].size() : maps.size(), dims);
  for (size_t d = 0; d < dims; ++d) {
    for (const int64_t entry : maps[d]) add(d, entry);
  }
  return out;
}

int64_t product(const ParamLayout& layout, const std::vector<size_t>& grid) {
  int64_t out = 1;
  for (const size_t j : grid) out *= layout.dev_matrix[j];
  return out;
}

// Into how many parts the optimizer shard cuts dim 0 once more.
int64_t shard_parts(const ParamLayout& layout, const GridDims& used, std::string_view name) {
  if (layout.opt_weight_shard_size == 0 || layout.opt_weight_shard_step == 0) return 1;
  int64_t copies = layout.devices();
  for (const auto& grid : used) copies /= product(layout, grid);
  const int64_t parts =
      layout.opt_weight_shard_size == -1 ? copies : int64_t{layout.opt_weight_shard_size};
  require<MismatchError>(
      copies % parts == 0,
      "transform: \"{}\" has {} copies, which an optimizer shard of {} does not divide",
      escaped(name, 80), copies, parts);
  require<MismatchError>(parts == 1 || !used.empty(),
                         "transform: \"{}\" is a single number, which no optimizer shard can cut",
                         escaped(name, 80));
  return parts;
}

std::vector<int64_t> coordinates(const ParamLayout& layout, int64_t rank) {
  std::vector<int64_t> out(layout.dev_matrix.size());
  for (size_t j = out.size(); j-- > 0;) {
    out[j] = rank % layout.dev_matrix[j];
    rank /= layout.dev_matrix[j];
  }
  return out;
}

// The rank's number among the copies of its part: row-major over the dims of the grid not in use.
int64_t copy_number(const ParamLayout& layout, const GridDims& used,
                    const std::vector<int64_t>& at) {
  std::vector<bool> is_used(at.size());
  for (const auto& grid : used) {
    for (const size_t j : grid) is_used[j] = true;
  }
  int64_t out = 0;
  for (size_t j = 0; j < at.size(); ++j) {
    if (!is_used[j]) out = out * layout.dev_matrix[j] + at[j];
  }
  return out;
}

// Cuts dim `d` of `part` into `parts` and keeps one of them.
void cut(Part& part, size_t d, int64_t parts, int64_t kept, std::string_view name) {
  require<MismatchError>(part.size[d] % parts == 0,
                         "transform: \"{}\" has {} elements along dim {}, which {} devices do not "
                         "divide",
                         escaped(name, 80), part.size[d], d, parts);
  part.size[d] /= parts;
  part.begin[d] += kept * part.size[d];
}

GridDims even_grid_dims(const ParamLayout& layout, size_t dims, std::string_view name) {
  require<MismatchError>(layout.param_split_shape.empty() && layout.indices_offset.empty(),
                         "transform: \"{}\" is split unevenly, which is not supported",
                         escaped(name, 80));
  return grid_dims(layout, dims, name);
}

}  // namespace

Part whole(std::span<const int64_t> shape) {
  return {.begin = std::vector<int64_t>(shape.size()), .size = {shape.begin(), shape.end()}};
}

std::vector<int64_t> cuts_of(const ParamLayout& layout, size_t dims, std::string_view name) {
  const GridDims used = even_grid_dims(layout, dims, name);
  std::vector<int64_t> out;
  for (const auto& grid : used) out.push_back(product(layout, grid));
  const int64_t shard = shard_parts(layout, used, name);
  if (!out.empty()) out[0] *= shard;
  return out;
}

Part part_of(const ParamLayout& layout, std::span<const int64_t> shape, int64_t rank,
             std::string_view name) {
  const GridDims used = even_grid_dims(layout, shape.size(), name);
  const std::vector<int64_t> at = coordinates(layout, rank);
  Part part = whole(shape);
  for (size_t d = 0; d < shape.size(); ++d) {
    int64_t kept = 0;
    for (const size_t j : used[d]) kept = kept * layout.dev_matrix[j] + at[j];
    cut(part, d, product(layout, used[d]), kept, name);
  }
  const int64_t shard = shard_parts(layout, used, name);
  if (shard > 1) cut(part, 0, shard, copy_number(layout, used, at) % shard, name);
  return part;
}

}  // namespace cria
