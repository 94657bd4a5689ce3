#include "checkpoint/sliced_ckpt.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/ckpt_name.h"
#include "checkpoint/transform_source.h"

namespace cria {
namespace {

[[noreturn]] void fail(const std::string& path, std::string reason, std::string hint) {
  throw MismatchError(describe(
      {.what = "weights", .path = path, .reason = std::move(reason), .hint = std::move(hint)}));
}

/// What a rank's file has in common with those of the other ranks: epoch, step, and the name without the rank's number.
using Version = std::tuple<int64_t, int64_t, std::string>;

Version version_of(const std::string& name) {
  const auto parsed = parse_ckpt_name(name);
  return {parsed ? parsed->epoch : -1, parsed ? parsed->step : -1, without_rank(name)};
}

/// The .ckpt files of a rank.
std::map<Version, std::string> versions_in(const std::string& folder) {
  std::map<Version, std::string> out;
  for (const std::string& name : list_files(folder)) {
    if (!name.ends_with(".ckpt")) continue;
    const auto [same, fresh] = out.emplace(version_of(name), join_path(folder, name));
    if (!fresh)
      fail(folder, fmt::format("{} and {} are of the same step", base_name(same->second), name),
           "leave one file in each rank_N");
  }
  if (out.empty()) fail(folder, "no .ckpt file in this folder", "");
  return out;
}

/// Those of all ranks, by rank.
std::vector<std::map<Version, std::string>> all_versions(const std::string& folder, int64_t ranks) {
  if (!is_folder(folder))
    throw IoError(describe({.what = "weights", .path = folder, .reason = "no such folder"}));
  const auto of_rank = [&](int64_t r) { return join_path(folder, fmt::format("rank_{}", r)); };
  std::vector<std::map<Version, std::string>> all;
  for (int64_t r = 0; r < ranks; ++r) {
    if (!is_folder(of_rank(r)))
      fail(folder, fmt::format("no folder rank_{}, but the strategy has {} ranks", r, ranks),
           "give the strategy that the ranks were saved with as src_strategy_path_or_dir");
    all.push_back(versions_in(of_rank(r)));
  }
  if (is_folder(of_rank(ranks)))
    fail(folder, fmt::format("a folder rank_{0}, but the strategy has {0} ranks", ranks),
         "give the strategy that the ranks were saved with as src_strategy_path_or_dir");
  return all;
}

}  // namespace

std::vector<std::string> files_of_ranks(const std::string& folder, int64_t ranks) {
  const auto all = all_versions(folder, ranks);
  const bool one_each =
      std::ranges::all_of(all, [](const auto& files) { return files.size() == 1; });
  std::vector<Version> common;
  for (const auto& [version, path] : all[0])
    if (std::ranges::all_of(all, [&](const auto& files) { return files.contains(version); }))
      common.push_back(version);
  if (common.empty() && one_each && std::get<0>(all[0].begin()->first) < 0) {
    // Names of the user's own, which need not follow a pattern.
    std::vector<std::string> paths;
    for (const auto& files : all) paths.push_back(files.begin()->second);
    return paths;
  }
  if (common.empty())
    fail(folder, "the .ckpt files of its ranks are of different steps",
         "leave one file of the same step in each rank_N");
  const Version& newest = common.back();
  if (std::get<0>(newest) < 0 && common.size() > 1)
    fail(join_path(folder, "rank_0"),
         fmt::format("{} .ckpt files and no steps in their names", common.size()),
         "leave one file in each rank_N");
  std::vector<std::string> paths;
  for (const auto& files : all) paths.push_back(files.at(newest));
  return paths;
}

namespace {

class SlicedCkpt : public TensorReader {
 public:
  SlicedCkpt(const std::string& folder, Strategy strategy)
      : strategy_(std::move(strategy)),
        source_(files_of_ranks(folder, strategy_.ranks()), strategy_,
                TransformSource::Verify::on_first_use),
        folder_(folder) {
    std::vector<TensorInfo> infos;
    bool listed = false;
    for (const TransformSource::Tensor& t : source_.tensors()) {
      infos.push_back(t.info);
      listed |= t.listed;
    }
    if (!listed && !strategy_.full)
      fail(folder, "none of the parameters is in the strategy",
           "check that src_strategy_path_or_dir is of the network that was saved");
    set_tensors(std::move(infos), folder);
  }

  void read(size_t index, uint64_t offset, std::span<std::byte> out) const override {
    const TensorInfo& info = source_.tensors()[index].info;
    const int64_t size = block_bytes(info.dtype);
    check(offset % static_cast<uint64_t>(size) == 0 && std::ssize(out) % size == 0,
          "whole elements are read");
    if (info.shape.empty()) return source_.read(index, {}, out);
    const int64_t cols = info.shape.back();
    int64_t at = static_cast<int64_t>(offset) / size;
    while (!out.empty()) {
      const int64_t left = std::ssize(out) / size, col = at % cols;
      // A matrix goes in whole rows where it can, everything else row by row.
      const bool many = info.shape.size() == 2 && col == 0 && left >= cols;
      const int64_t rows = many ? left / cols : 1, width = many ? cols : std::min(left, cols - col);
      const auto bytes = static_cast<size_t>(rows * width * size);
      source_.read(index, box(info.shape, at, rows, width), out.first(bytes));
      out = out.subspan(bytes);
      at += rows * width;
    }
  }
  [[nodiscard]] std::span<const std::byte> mapped(size_t index) const override {
    return source_.mapped(index);
  }
  [[nodiscard]] std::string path_of(size_t /*index*/) const override { return folder_; }

 private:
  /// `rows` rows from the element `at` on, of `width` elements each.
  static Part box(const std::vector<int64_t>& shape, int64_t at, int64_t rows, int64_t width) {
    Part part{.begin = std::vector<int64_t>(shape.size()),
              .size = std::vector<int64_t>(shape.size(), 1)};
    for (size_t d = shape.size(); d-- > 0;) {
      part.begin[d] = at % shape[d];
      at /= shape[d];
    }
    if (shape.size() > 1) part.size[shape.size() - 2] = rows;
    part.size.back() = width;
    return part;
  }

  const Strategy strategy_;
  const TransformSource source_;
  const std::string folder_;
};

}  // namespace

std::shared_ptr<const TensorReader> open_sliced_ckpt(const std::string& folder, Strategy strategy) {
  return std::make_shared<SlicedCkpt>(folder, std::move(strategy));
}

}  // namespace cria
