#include "checkpoint/checkpoint_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "formats/safetensors.h"

namespace cria {
namespace {

constexpr std::string_view kWhat = "checkpoint", kHint = "an older checkpoint";

std::string existing(const std::string& path) {
  require<FormatError>(is_file(path), "checkpoint: {}: the file is missing", path);
  return path;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace

/// One file; its blocks are checked when they are first used.
class CheckpointFiles::File {
 public:
  File(const std::string& path, const FileSums& sums)
      : file_(existing(path)), sums_(sums), checked_(sums.blocks.size()) {
    check_size(file_.bytes(), sums_, path, kWhat, kHint);
    // The header is parsed before its sum is known to be right, because it says how long it is; what it says is used after.
    layout_ = parse_safetensors(file_.bytes(), path);
    bytes(0, layout_.offsets.empty() ? file_.size() : layout_.offsets[0]);
    for (size_t i = 0; i < layout_.tensors.size(); ++i) index_[layout_.tensors[i].name] = i;
  }

  [[nodiscard]] const std::string& path() const { return file_.path(); }
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const { return layout_.tensors; }

  /// Where the contents of a tensor of this dtype and shape begin.
  [[nodiscard]] uint64_t place(const std::string& name, DType dtype,
                               const std::vector<int64_t>& shape) const {
    const auto found = index_.find(name);
    require<FormatError>(found != index_.end(), "checkpoint: {}: no tensor \"{}\"", path(),
                         escaped(name, 80));
    const TensorInfo& t = layout_.tensors[found->second];
    require<FormatError>(t.dtype == dtype && t.shape == shape,
                         "checkpoint: {}: \"{}\" is {} {}, by the manifest {} {}", path(),
                         escaped(name, 80), name_of(t.dtype), shape_text(t.shape), name_of(dtype),
                         shape_text(shape));
    return layout_.offsets[found->second];
  }

  /// Bytes whose blocks are whole.
  std::span<const std::byte> bytes(uint64_t offset, uint64_t size) const {
    if (size == 0) return {};
    const uint64_t end = (offset + size - 1) / FileSums::kBlockBytes;
    for (uint64_t b = offset / FileSums::kBlockBytes; b <= end; ++b) {
      if (checked_[b].load(std::memory_order_relaxed)) continue;
      check_block(file_.bytes(), b, sums_, path(), kWhat, kHint);
      checked_[b].store(true, std::memory_order_relaxed);
    }
    return file_.bytes().subspan(offset, size);
  }

 private:
  MappedFile file_;
  FileSums sums_;
  SafetensorsLayout layout_;
  std::map<std::string, size_t> index_;
  mutable std::vector<std::atomic<bool>> checked_;
};

CheckpointFiles::CheckpointFiles(std::string folder) : folder_(std::move(folder)) {
  const std::string path = join_path(folder_, "manifest.json");
  manifest_ = parse_manifest(read_text(path), path);
  expand_whole_groups();
  check_boxes(manifest_, path);
}

CheckpointFiles::~CheckpointFiles() = default;

// Version 1: each tensor is one box.
void CheckpointFiles::expand_whole_groups() {
  for (const auto& [group, name] : manifest_.whole_groups) {
    const std::string prefix = name_prefix(group);
    StoredGroup& tensors = manifest_.groups[group];
    for (const TensorInfo& t : file(name).tensors()) {
      require<FormatError>(
          t.name.starts_with(prefix) && (t.shape.size() == 1 || t.shape.size() == 2),
          "checkpoint: {}: \"{}\" is no tensor of group \"{}\"", file(name).path(),
          escaped(t.name, 80), escaped(group));
      tensors[t.name.substr(prefix.size())] = {
          t.dtype, t.shape, {{std::vector<int64_t>(t.shape.size()), t.shape, name}}};
    }
  }
}

const CheckpointFiles::File& CheckpointFiles::file(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<File>& file = opened_[name];
  if (file == nullptr)
    file = std::make_unique<File>(join_path(folder_, name), manifest_.files.at(name));
  return *file;
}

void CheckpointFiles::verify_other_files() const {
  std::set<std::string> with_tensors;
  for (const auto& [group, tensors] : manifest_.groups)
    for (const auto& [name, tensor] : tensors)
      for (const StoredBox& box : tensor.boxes) with_tensors.insert(box.file);
  ThreadPool alone(1);
  for (const auto& [name, sums] : manifest_.files) {
    if (with_tensors.contains(name)) continue;
    const std::string path = join_path(folder_, name);
    check_sums(MappedFile(existing(path)).bytes(), sums, path, alone, kWhat, kHint);
  }
}

void CheckpointFiles::verify_all(ThreadPool& pool) const {
  for (const auto& [name, sums] : manifest_.files) {
    const std::string path = join_path(folder_, name);
    check_sums(MappedFile(existing(path)).bytes(), sums, path, pool, kWhat, kHint);
  }
  for (const auto& [group, tensors] : manifest_.groups)
    for (const auto& [name, tensor] : tensors)
      for (const StoredBox& box : tensor.boxes)
        static_cast<void>(file(box.file).place(name_prefix(group) + name, tensor.dtype, box.size));
}

void CheckpointFiles::read(const std::vector<Wanted>& wanted, ThreadPool& pool) const {
  struct Copy {
    const File* file;
    uint64_t offset, stride;  // of the first element in the file; between rows
    int64_t rows;
    uint64_t row_bytes;
    View to;
  };
  std::vector<Copy> copies;
  for (const Wanted& w : wanted) {
    int64_t found = 0;
    for (const StoredBox& b : w.tensor->boxes) {
      const Rect stored = rect_of(b.begin, b.size);
      const Rect part = common_part(stored, w.box);
      if (part.elements() == 0) continue;
      found += part.elements();
      const File& f = file(b.file);
      const DType dtype = w.tensor->dtype;
      const auto stride = static_cast<uint64_t>(bytes_of(dtype, stored.cols));
      const auto row_bytes = static_cast<uint64_t>(bytes_of(dtype, part.cols));
      const uint64_t first = f.place(w.name, dtype, b.size) +
                             static_cast<uint64_t>(part.row - stored.row) * stride +
                             static_cast<uint64_t>(bytes_of(dtype, part.col - stored.col));
      const View to = w.to.row_range(part.row - w.box.row, part.rows)
                          .col_range(part.col - w.box.col, part.cols);
      // About a block at once, so that the threads share large tables.
      const auto step = std::max<int64_t>(
          1, static_cast<int64_t>(FileSums::kBlockBytes / std::max<uint64_t>(1, row_bytes)));
      for (int64_t r = 0; r < part.rows; r += step) {
        const int64_t rows = std::min(step, part.rows - r);
        copies.push_back({&f, first + static_cast<uint64_t>(r) * stride, stride, rows, row_bytes,
                          to.row_range(r, rows)});
      }
    }
    require<MismatchError>(found == w.box.elements(),
                           "checkpoint: {}: \"{}\": only {} of the {} elements of rows {} to {}, "
                           "columns {} to {} are there",
                           folder_, escaped(w.name, 80), found, w.box.elements(), w.box.row,
                           w.box.row + w.box.rows - 1, w.box.col, w.box.col + w.box.cols - 1);
  }
  pool.parallel_for(static_cast<int64_t>(copies.size()), [&](int64_t i) {
    const Copy& c = copies[static_cast<size_t>(i)];
    for (int64_t r = 0; r < c.rows; ++r) {
      const auto row = c.file->bytes(c.offset + static_cast<uint64_t>(r) * c.stride, c.row_bytes);
      std::memcpy(c.to.at(r, 0), row.data(), row.size());
    }
  });
}

void CheckpointFiles::read_box(const std::string& name, const StoredTensor& tensor, const Rect& box,
                               std::span<std::byte> out) const {
  check(std::ssize(out) == bytes_of(tensor.dtype, box.elements()), "the box fills its memory");
  ThreadPool alone(1);
  read({{name, &tensor, box, {out.data(), tensor.dtype, box.rows, box.cols}}}, alone);
}

void CheckpointFiles::read_bytes(const std::string& name, const StoredTensor& tensor,
                                 uint64_t offset, std::span<std::byte> out) const {
  const std::vector<int64_t> origin(tensor.shape.size());
  const Rect all = rect_of(origin, tensor.shape);
  const auto row_bytes = static_cast<uint64_t>(bytes_of(tensor.dtype, all.cols));
  for (const StoredBox& b : tensor.boxes) {
    const Rect box = rect_of(b.begin, b.size);
    const auto width = static_cast<uint64_t>(bytes_of(tensor.dtype, box.cols));
    const File& f = file(b.file);
    const uint64_t place = f.place(name, tensor.dtype, b.size);
    const auto first_row = std::max(box.row, static_cast<int64_t>(offset / row_bytes));
    for (int64_t row = first_row; row < box.row + box.rows; ++row) {
      // The box's part of this row, as a range of the whole tensor's bytes, and what of it is wanted.
      const uint64_t begin = static_cast<uint64_t>(row) * row_bytes +
                             static_cast<uint64_t>(bytes_of(tensor.dtype, box.col));
      const uint64_t from = std::max(begin, offset);
      const uint64_t to = std::min(begin + width, offset + out.size());
      if (begin >= offset + out.size()) break;
      if (from >= to) continue;
      const auto bytes =
          f.bytes(place + static_cast<uint64_t>(row - box.row) * width + (from - begin), to - from);
      std::memcpy(out.data() + (from - offset), bytes.data(), bytes.size());
    }
  }
}

namespace {

class CheckpointWeights : public TensorReader {
 public:
  explicit CheckpointWeights(const std::string& folder) : files_(folder) {
    const auto group = files_.manifest().groups.find("weights");
    require<MismatchError>(group != files_.manifest().groups.end(),
                           "checkpoint: {}: it holds no weights", folder);
    std::vector<TensorInfo> infos;
    for (const auto& [name, tensor] : group->second) {
      infos.push_back({name, tensor.dtype, tensor.shape});
      stored_.push_back(&tensor);
    }
    files_.verify_other_files();
    set_tensors(std::move(infos), folder);
  }
  void read(size_t index, uint64_t offset, std::span<std::byte> out) const override {
    files_.read_bytes(tensors()[index].name, *stored_[index], offset, out);
  }
  [[nodiscard]] std::string path_of(size_t /*index*/) const override { return files_.folder(); }

 private:
  CheckpointFiles files_;
  std::vector<const StoredTensor*> stored_;
};

}  // namespace

std::shared_ptr<const TensorReader> open_checkpoint_weights(const std::string& folder) {
  return std::make_shared<CheckpointWeights>(folder);
}

}  // namespace cria
