#include "checkpoint/transform_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "base/side_manifest.h"

namespace cria {
namespace {

[[noreturn]] void fail(const std::string& path, std::string reason, std::string hint = {}) {
  throw MismatchError(describe(
      {.what = "transform", .path = path, .reason = std::move(reason), .hint = std::move(hint)}));
}

// The last .ckpt of a folder in lexical order, or "".
std::string last_checkpoint(const std::string& folder) {
  std::string last;
  for (const std::string& name : list_files(folder)) {
    if (name.ends_with(".ckpt")) last = name;
  }
  return last.empty() ? "" : join_path(folder, last);
}

std::string rank_folder(const std::string& folder, int64_t rank) {
  return join_path(folder, fmt::format("rank_{}", rank));
}

std::string checkpoint_of_rank(const std::string& path, int64_t rank, int64_t ranks) {
  if (is_file(path)) {
    if (ranks != 1)
      fail(path, fmt::format("one file, but the source strategy has {} ranks", ranks),
           "give the folder that holds rank_0, rank_1, ...");
    return path;
  }
  const std::string folder = rank_folder(path, rank);
  if (is_folder(folder)) {
    std::string file = last_checkpoint(folder);
    if (file.empty()) fail(folder, "no .ckpt file in this folder");
    return file;
  }
  std::string bare = ranks == 1 ? last_checkpoint(path) : "";
  if (bare.empty())
    fail(path,
         fmt::format("no folder rank_{}, but the source has {} rank{}", rank, ranks,
                     ranks == 1 ? "" : "s"),
         ranks == 1 ? "put the .ckpt into rank_0, or name it" : "check --src_ckpt_strategy");
  return bare;
}

// Where two boxes meet; false when they do not.
bool intersect(const Part& a, const Part& b, Part& out) {
  out = a;
  for (size_t d = 0; d < a.begin.size(); ++d) {
    const int64_t begin = std::max(a.begin[d], b.begin[d]);
    const int64_t end = std::min(a.begin[d] + a.size[d], b.begin[d] + b.size[d]);
    if (begin >= end) return false;
    out.begin[d] = begin;
    out.size[d] = end - begin;
  }
  return true;
}

// Elements before the point `at` (of the whole tensor) in box `box`, in C order.
int64_t place(const std::vector<int64_t>& at, const Part& box) {
  int64_t out = 0;
  for (size_t d = 0; d < at.size(); ++d) out = out * box.size[d] + (at[d] - box.begin[d]);
  return out;
}

// Copies `shared`, which lies in the piece and in `to`, in runs that are contiguous in both.
void copy_shared(const MindsporeReader& file, const TransformSource::Piece& piece, const Part& to,
                 const Part& shared, int64_t element_bytes, std::span<std::byte> out) {
  size_t outer = shared.size.size();
  int64_t run = element_bytes;
  while (outer > 0) {
    --outer;
    run *= shared.size[outer];
    if (shared.size[outer] != piece.part.size[outer] || shared.size[outer] != to.size[outer]) break;
  }
  std::vector<int64_t> at = shared.begin;
  while (true) {
    file.read(
        piece.index, static_cast<uint64_t>(place(at, piece.part) * element_bytes),
        out.subspan(static_cast<size_t>(place(at, to) * element_bytes), static_cast<size_t>(run)));
    size_t d = outer;
    while (d > 0 && ++at[d - 1] == shared.begin[d - 1] + shared.size[d - 1]) {
      at[d - 1] = shared.begin[d - 1];
      --d;
    }
    if (d == 0) return;
  }
}

}  // namespace

std::vector<std::string> files_to_transform(const std::string& path, int64_t ranks) {
  if (!is_file(path) && !is_folder(path))
    throw IoError(describe({.what = "transform",
                            .path = path,
                            .reason = "no such file or folder",
                            .hint = "check --src_ckpt_dir"}));
  std::vector<std::string> paths;
  for (int64_t rank = 0; rank < ranks; ++rank)
    paths.push_back(checkpoint_of_rank(path, rank, ranks));
  if (is_folder(path) && is_folder(rank_folder(path, ranks)))
    fail(path,
         fmt::format("a folder rank_{0}, but the source strategy has {0} rank{1}", ranks,
                     ranks == 1 ? "" : "s"),
         "give the strategy that the source was saved with");
  return paths;
}

TransformSource::TransformSource(const std::vector<std::string>& paths, const Strategy& strategy,
                                 Verify verify)
    : strategy_(strategy) {
  check(std::ssize(paths) == strategy.ranks(), "every rank has a file");
  for (const std::string& path : paths) {
    files_.push_back(std::make_unique<File>());
    files_.back()->path = path;
    if (verify == Verify::at_once) compare_with_sums(*files_.back());
    files_.back()->reader = open_mindspore_ckpt(path);
  }
  std::unordered_set<std::string> names, text_names;
  for (size_t rank = 0; rank < files_.size(); ++rank) {
    for (const TensorInfo& info : files_[rank]->reader->tensors()) {
      if (names.insert(info.name).second) add_tensor(info, rank);
    }
    for (const MindsporeText& text : files_[rank]->reader->texts()) {
      if (text_names.insert(text.first).second) scalars_.push_back({text.first, text.second});
    }
  }
  for (const MindsporeScalar& text : scalars_) {
    if (names.contains(text.name))
      fail(paths[0], fmt::format("\"{}\" is a text on one rank and a tensor on another",
                                 escaped(text.name, 80)));
  }
}

void TransformSource::compare_with_sums(const File& file) {
  if (file.verified) return;
  // Others wait: a file may be large, and once is enough.
  const std::lock_guard lock(file.mutex);
  if (!file.verified) check_side_manifest(file.path);
  file.verified = true;
}

const MindsporeReader& TransformSource::verified(size_t rank) const {
  compare_with_sums(*files_[rank]);
  return *files_[rank]->reader;
}

void TransformSource::add_tensor(const TensorInfo& first, size_t rank) {
  Tensor tensor{.info = first};
  const Strategy::Placement* placement = strategy_.find(first.name);
  tensor.listed = placement != nullptr;
  if (placement != nullptr) {
    pieces_.push_back(
        gather_pieces(tensor.info, placement->begin()->first, placement->begin()->second));
  } else {
    const size_t index = files_[rank]->reader->find(first.name).value();
    pieces_.push_back({{rank, index, whole(first.shape)}});
  }
  tensors_.push_back(std::move(tensor));
}

std::vector<TransformSource::Piece> TransformSource::gather_pieces(
    TensorInfo& info, uint32_t stage, const ParamLayout& layout) const {
  const std::string name = info.name;
  std::vector<Piece> pieces;
  std::set<std::vector<int64_t>> seen;
  std::vector<int64_t> shape;  // of a piece
  const auto first_rank = static_cast<size_t>(stage * strategy_.devices);
  for (size_t i = 0; i < static_cast<size_t>(strategy_.devices); ++i) {
    const MindsporeReader& file = *files_[first_rank + i]->reader;
    const std::string& path = files_[first_rank + i]->path;
    const auto index = file.find(name);
    if (!index) fail(path, fmt::format("parameter \"{}\" is missing", escaped(name, 80)));
    const TensorInfo& found = file.tensors()[*index];
    if (i == 0) {
      shape = found.shape;
      info = found;
      const std::vector<int64_t> cuts = cuts_of(layout, shape.size(), name);
      for (size_t d = 0; d < cuts.size(); ++d) {
        if (__builtin_mul_overflow(shape[d], cuts[d], &info.shape[d]))
          fail(path, fmt::format("parameter \"{}\" is too large", escaped(name, 80)));
      }
      validate_tensor(info, "transform", path);
    }
    if (found.shape != shape || found.dtype != info.dtype)
      fail(path, fmt::format("parameter \"{}\" is {} [{}], in rank {} it is {} [{}]",
                             escaped(name, 80), name_of(found.dtype), fmt::join(found.shape, ", "),
                             first_rank, name_of(info.dtype), fmt::join(shape, ", ")));
    Part part = part_of(layout, info.shape, static_cast<int64_t>(i), name);
    if (seen.insert(part.begin).second) pieces.push_back({first_rank + i, *index, std::move(part)});
  }
  return pieces;
}

void TransformSource::read(size_t index, const Part& part, std::span<std::byte> out) const {
  const int64_t element = block_bytes(tensors_[index].info.dtype);
  Part shared;
  for (const Piece& piece : pieces_[index]) {
    if (intersect(piece.part, part, shared))
      copy_shared(verified(piece.rank), piece, part, shared, element, out);
  }
}

std::span<const std::byte> TransformSource::mapped(size_t index) const {
  const std::vector<Piece>& pieces = pieces_[index];
  if (pieces.size() != 1) return {};
  return verified(pieces[0].rank).mapped(pieces[0].index);
}

}  // namespace cria
