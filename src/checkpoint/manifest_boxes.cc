// Boxes of tensors: how they meet, and whether they cover everything exactly once.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <queue>
#include <utility>

#include "base/error.h"
#include "checkpoint/manifest.h"

namespace cria {

std::string name_prefix(const std::string& group) {
  return group == "weights" ? std::string() : group + ".";
}

Rect rect_of(const std::vector<int64_t>& begin, const std::vector<int64_t>& size) {
  if (size.size() == 1) return {0, begin[0], 1, size[0]};
  return {begin[0], begin[1], size[0], size[1]};
}

Rect common_part(const Rect& a, const Rect& b) {
  Rect out{std::max(a.row, b.row), std::max(a.col, b.col), 0, 0};
  out.rows = std::max<int64_t>(0, std::min(a.row + a.rows, b.row + b.rows) - out.row);
  out.cols = std::max<int64_t>(0, std::min(a.col + a.cols, b.col + b.cols) - out.col);
  return out;
}

void merge_manifest(Manifest& into, Manifest part) {
  for (auto& [name, sums] : part.files) {
    require<MismatchError>(into.files.emplace(name, std::move(sums)).second,
                           "save: two ranks wrote \"{}\"", name);
  }
  for (auto& [group, tensors] : part.groups) {
    for (auto& [name, tensor] : tensors) {
      const auto [it, fresh] = into.groups[group].try_emplace(name, tensor);
      if (fresh) continue;
      StoredTensor& t = it->second;
      require<MismatchError>(t.shape == tensor.shape && t.dtype == tensor.dtype,
                             "save: {} \"{}\" is {} [{}] on one rank and {} [{}] on another", group,
                             name, name_of(t.dtype), fmt::join(t.shape, ", "),
                             name_of(tensor.dtype), fmt::join(tensor.shape, ", "));
      std::ranges::move(tensor.boxes, std::back_inserter(t.boxes));
    }
  }
}

namespace {

/// Whether no two meet. Goes down the rows and keeps the column ranges of the boxes that reach the row it is at, so that the
/// number of boxes in a hostile manifest costs no more than sorting them.
bool apart(std::vector<Rect> rects) {
  std::ranges::sort(rects, {}, &Rect::row);
  std::map<int64_t, int64_t> columns;          // begin -> end
  using Ending = std::pair<int64_t, int64_t>;  // row behind the last, first column
  std::priority_queue<Ending, std::vector<Ending>, std::greater<>> endings;
  for (const Rect& r : rects) {
    for (; !endings.empty() && endings.top().first <= r.row; endings.pop())
      columns.erase(endings.top().second);
    const auto after = columns.lower_bound(r.col);
    if (after != columns.end() && after->first < r.col + r.cols) return false;
    if (after != columns.begin() && std::prev(after)->second > r.col) return false;
    columns[r.col] = r.col + r.cols;
    endings.emplace(r.row + r.rows, r.col);
  }
  return true;
}

void check_tensor(const std::string& name, const StoredTensor& t, const std::string& path) {
  std::vector<Rect> rects;
  for (const StoredBox& b : t.boxes) rects.push_back(rect_of(b.begin, b.size));
  require<FormatError>(apart(rects), "checkpoint: {}: boxes of \"{}\" lie over each other", path,
                       escaped(name, 80));
  int64_t covered = 0, all = 1;
  for (const Rect& r : rects) covered += r.elements();
  for (const int64_t n : t.shape) all *= n;
  require<MismatchError>(covered == all,
                         "checkpoint: {}: the boxes of \"{}\" hold {} of its {} elements", path,
                         escaped(name, 80), covered, all);
}

}  // namespace

void check_boxes(const Manifest& manifest, const std::string& path) {
  for (const auto& [group, tensors] : manifest.groups)
    for (const auto& [name, tensor] : tensors)
      check_tensor(name_prefix(group) + name, tensor, path);
}

}  // namespace cria
