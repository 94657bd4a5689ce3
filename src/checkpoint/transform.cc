#include "checkpoint/transform.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/side_manifest.h"
#include "base/thread_pool.h"
#include "checkpoint/transform_source.h"

namespace cria {
namespace {

constexpr int64_t kSlabBytes = 4 << 20;  // of a tensor, gathered and written at a time

// What one destination rank gets.
struct Share {
  struct Item {
    const TransformSource::Tensor* tensor;
    Part part;
  };
  std::vector<Item> items;
  std::vector<TensorInfo> infos;

  void add(const TransformSource::Tensor& tensor, Part part) {
    infos.push_back({.name = tensor.info.name, .dtype = tensor.info.dtype, .shape = part.size});
    items.push_back({&tensor, std::move(part)});
  }
};

Share share_of(int64_t rank, const TransformSource& source, const Strategy& to) {
  Share share;
  std::vector<const TransformSource::Tensor*> copied;
  const auto stage = static_cast<uint32_t>(rank / to.devices);
  for (const TransformSource::Tensor& tensor : source.tensors()) {
    const Strategy::Placement* placement = to.find(tensor.info.name);
    if (placement != nullptr) {
      const auto layout = placement->find(stage);
      if (layout == placement->end()) continue;
      share.add(tensor,
                part_of(layout->second, tensor.info.shape, rank % to.devices, tensor.info.name));
    } else if (!tensor.listed) {
      copied.push_back(&tensor);
    } else if (to.full) {
      share.add(tensor, whole(tensor.info.shape));
    }
  }
  for (const auto* tensor : copied) share.add(*tensor, whole(tensor->info.shape));
  return share;
}

void check_some_known(const TransformSource& source, const Strategy& from, const Strategy& to,
                      const TransformOptions& options) {
  if (source.tensors().empty() || (from.full && to.full)) return;
  const bool known = std::ranges::any_of(source.tensors(), [&](const auto& tensor) {
    return tensor.listed || to.find(tensor.info.name) != nullptr;
  });
  if (known) return;
  throw MismatchError(
      describe({.what = "transform",
                .path = options.src,
                .reason = "none of the parameters is in the strategy",
                .found = escaped(source.tensors()[0].info.name, 80),
                .hint = "check that the strategy is of the network that was saved"}));
}

void check_options(const TransformOptions& options, const Strategy& from, const Strategy& to) {
  require(options.threads >= 1 && options.threads <= 1024,
          "transform: {} processes, expected 1 to 1024", options.threads);
  require(options.prefix.empty() || is_plain_name(options.prefix),
          "transform: --prefix \"{}\" is no part of a file name", escaped(options.prefix, 80));
  std::error_code ignored;
  require(!std::filesystem::equivalent(options.src, options.dst, ignored),
          "transform: {}: source and destination are the same folder", options.dst);
  const int64_t a = from.ranks(), b = to.ranks();
  require<MismatchError>(a % b == 0 || b % a == 0,
                         "transform: {}: from {} to {} devices, expected that one number divides "
                         "the other",
                         options.dst, a, b);
}

// Makes folders, and takes those it made away again unless they are kept.
class NewFolders {
 public:
  NewFolders() = default;
  NewFolders(const NewFolders&) = delete;
  NewFolders& operator=(const NewFolders&) = delete;
  ~NewFolders() {
    std::error_code ignored;
    for (size_t i = made_.size(); i-- > 0;) std::filesystem::remove(made_[i], ignored);
  }
  void make(const std::string& path) {
    std::vector<std::filesystem::path> missing;
    for (std::filesystem::path p = std::filesystem::absolute(path).lexically_normal();
         !std::filesystem::exists(p); p = p.parent_path())
      missing.push_back(p);
    made_.insert(made_.end(), missing.rbegin(), missing.rend());
    make_folders(path);
  }
  void keep() { made_.clear(); }

 private:
  std::vector<std::filesystem::path> made_;
};

class Transformer {
 public:
  Transformer(const TransformOptions& options, const TransformSource& source, const Strategy& to)
      : options_(options), source_(source) {
    const int64_t count = options.rank_count == 0 ? to.ranks() : options.rank_count;
    for (int64_t rank = options.first_rank; rank < options.first_rank + count; ++rank) {
      shares_.push_back(share_of(rank, source, to));
      total_ += static_cast<int64_t>(shares_.back().items.size());
    }
    for (const MindsporeText& text : source.texts())
      write_options_.scalars.push_back({text.first, text.second});
  }

  // All files are complete before the first gets its name.
  void run() {
    NewFolders folders;
    std::vector<std::string> paths;
    std::vector<std::unique_ptr<TensorWriter>> writers;
    folders.make(options_.dst);
    for (size_t i = 0; i < shares_.size(); ++i) {
      const int64_t rank = options_.first_rank + static_cast<int64_t>(i);
      const std::string folder = join_path(options_.dst, fmt::format("rank_{}", rank));
      folders.make(folder);
      paths.push_back(join_path(folder, fmt::format("{}{}.ckpt", options_.prefix, rank)));
      writers.push_back(make_mindspore_ckpt_writer(paths.back(), shares_[i].infos, write_options_));
    }
    ThreadPool pool(std::min<int>(options_.threads, static_cast<int>(shares_.size())));
    pool.parallel_for(std::ssize(shares_), [&](int64_t i) {
      for (const Share::Item& item : shares_[static_cast<size_t>(i)].items) {
        write_tensor(item, *writers[static_cast<size_t>(i)]);
        report();
      }
    });
    for (const std::string& path : paths) remove_side_manifest(path);
    for (const auto& writer : writers) writer->commit();
    for (const std::string& path : paths) write_side_manifest(path);
    folders.keep();
  }

 private:
  // In slabs of rows, so that a large tensor is never whole in memory.
  void write_tensor(const Share::Item& item, TensorWriter& writer) const {
    const Part& part = item.part;
    const TensorInfo slice{.dtype = item.tensor->info.dtype, .shape = part.size};
    const int64_t rows = part.size.empty() ? 1 : part.size[0];
    const int64_t row_bytes = slice.size_bytes() / rows;
    const int64_t at_once = std::clamp<int64_t>(kSlabBytes / row_bytes, 1, rows);
    std::vector<std::byte> bytes;
    Part slab = part;
    for (int64_t row = 0; row < rows; row += at_once) {
      const int64_t count = std::min(at_once, rows - row);
      if (!slab.size.empty()) {
        slab.begin[0] = part.begin[0] + row;
        slab.size[0] = count;
      }
      bytes.resize(static_cast<size_t>(count * row_bytes));
      source_.read(*item.tensor, slab, bytes);
      writer.write(bytes);
    }
  }

  void report() {
    const std::lock_guard lock(mutex_);
    ++done_;
    if (options_.progress) options_.progress(done_, total_);
  }

  const TransformOptions& options_;
  const TransformSource& source_;
  MindsporeWriteOptions write_options_;
  std::vector<Share> shares_;
  std::mutex mutex_;
  int64_t done_ = 0, total_ = 0;
};

}  // namespace

void transform_checkpoint(const TransformOptions& options) {
  require(!options.src.empty(), "transform: no source; try: --src_ckpt_dir FOLDER");
  require(!options.dst.empty(), "transform: no destination; try: --dst_ckpt_dir FOLDER");
  const Strategy from = read_strategy(options.src_strategy);
  const Strategy to = read_strategy(options.dst_strategy);
  transform_checkpoint(options, from, files_to_transform(options.src, from.ranks()), to);
}

void transform_checkpoint(const TransformOptions& options, const Strategy& from,
                          const std::vector<std::string>& files, const Strategy& to) {
  check_options(options, from, to);
  // Several that share the work need not all read all files.
  using enum TransformSource::Verify;
  const TransformSource source(files, from, options.rank_count == 0 ? at_once : on_first_use);
  check_some_known(source, from, to, options);
  Transformer(options, source, to).run();
}

}  // namespace cria
