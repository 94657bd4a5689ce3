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
#include "checkpoint/checkpoint_files.h"
#include "checkpoint/cut_native.h"
#include "checkpoint/native_content.h"
#include "checkpoint/new_folders.h"
#include "checkpoint/step_parts.h"
#include "checkpoint/transform_source.h"

namespace cria {
namespace {

// What one destination rank gets.
struct Share {
  struct Item {
    size_t index;  // of the tensor in the source
    Part part;
  };
  std::vector<Item> items;
  std::vector<TensorInfo> infos;

  void add(size_t index, const TensorInfo& tensor, Part part) {
    infos.push_back({.name = tensor.name, .dtype = tensor.dtype, .shape = part.size});
    items.push_back({index, std::move(part)});
  }
};

Share share_of(int64_t rank, const PartReader& source, const Strategy& to) {
  Share share;
  std::vector<size_t> copied;
  const auto stage = static_cast<uint32_t>(rank / to.devices);
  for (size_t i = 0; i < source.tensors().size(); ++i) {
    const auto& [info, listed] = source.tensors()[i];
    const Strategy::Placement* placement = to.find(info.name);
    if (placement != nullptr) {
      const auto layout = placement->find(stage);
      if (layout == placement->end()) continue;
      share.add(i, info, part_of(layout->second, info.shape, rank % to.devices, info.name));
    } else if (!listed) {
      copied.push_back(i);
    } else if (to.full) {
      share.add(i, info, whole(info.shape));
    }
  }
  for (const size_t i : copied) {
    const TensorInfo& info = source.tensors()[i].info;
    share.add(i, info, whole(info.shape));
  }
  return share;
}

void check_some_known(const PartReader& source, const Strategy& from, const Strategy& to,
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

void check_options(const TransformOptions& options) {
  require(options.threads >= 1 && options.threads <= 1024,
          "transform: {} processes, expected 1 to 1024", options.threads);
  require(options.prefix.empty() || is_plain_name(options.prefix),
          "transform: --prefix \"{}\" is no part of a file name", escaped(options.prefix, 80));
  std::error_code ignored;
  require(!std::filesystem::equivalent(options.src, options.dst, ignored),
          "transform: {}: source and destination are the same folder", options.dst);
}

void check_ranks(const TransformOptions& options, const Strategy& from, const Strategy& to) {
  const int64_t a = from.ranks(), b = to.ranks();
  require<MismatchError>(a % b == 0 || b % a == 0,
                         "transform: {}: from {} to {} devices, expected that one number divides "
                         "the other",
                         options.dst, a, b);
}

class Transformer {
 public:
  Transformer(const TransformOptions& options, const PartReader& source, const Strategy& to)
      : options_(options), source_(source) {
    const int64_t count = options.rank_count == 0 ? to.ranks() : options.rank_count;
    for (int64_t rank = options.first_rank; rank < options.first_rank + count; ++rank) {
      shares_.push_back(share_of(rank, source, to));
      total_ += static_cast<int64_t>(shares_.back().items.size());
    }
    write_options_.scalars = source.scalars();
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
  void write_tensor(const Share::Item& item, TensorWriter& writer) const {
    copy_part([&](const Part& part, auto out) { source_.read(item.index, part, out); },
              source_.tensors()[item.index].info.dtype, item.part, writer);
  }

  void report() {
    const std::lock_guard lock(mutex_);
    ++done_;
    if (options_.progress) options_.progress(done_, total_);
  }

  const TransformOptions& options_;
  const PartReader& source_;
  MindsporeWriteOptions write_options_;
  std::vector<Share> shares_;
  std::mutex mutex_;
  int64_t done_ = 0, total_ = 0;
};

CutOptions cut_options(const TransformOptions& options) {
  return {.threads = options.threads, .progress = options.progress};
}

void transform_step(const TransformOptions& options, const std::string& folder,
                    const Strategy& to) {
  const CheckpointFiles step(folder);
  if (options.format == CheckpointFormat::native) {
    cut_native(content_of_step(step), to, options.dst, cut_options(options));
    return;
  }
  const StepParts source(step);
  for (const auto& [info, listed] : source.tensors()) {
    const bool moment = info.name.starts_with("adam_");
    require<MismatchError>(to.full || moment || to.find(info.name) != nullptr,
                           "transform: {}: parameter \"{}\" is not in the destination's strategy; "
                           "try: the strategy of a run of this network",
                           folder, info.name);
  }
  Transformer(options, source, to).run();
}

/// The newest step that is valid; a damaged one that was named itself is an error.
void transform_newest(const TransformOptions& options, const std::vector<std::string>& steps,
                      const Strategy& to) {
  for (const std::string& step : steps) {
    try {
      return transform_step(options, step, to);
    } catch (const FormatError& e) {
      if (step == options.src) throw;
      warn(fmt::format("{}; going back to an older checkpoint", e.what()));
    }
  }
  throw MismatchError(
      fmt::format("transform: {}: none of its {} checkpoints is valid", options.src, steps.size()));
}

LlamaConfig given_config(const TransformOptions& options) {
  require(!options.config.empty(),
          "transform: a training checkpoint needs the model's shape; try: --config config.json");
  const std::string path =
      is_folder(options.config) ? join_path(options.config, "config.json") : options.config;
  return parse_hf_config(read_text(path), path);
}

}  // namespace

void transform_checkpoint(const TransformOptions& options) {
  require(!options.src.empty(), "transform: no source; try: --src_ckpt_dir FOLDER");
  require(!options.dst.empty(), "transform: no destination; try: --dst_ckpt_dir FOLDER");
  check_options(options);
  const Strategy from = read_strategy(options.src_strategy);
  const Strategy to = read_strategy(options.dst_strategy);
  const std::vector<std::string> steps = steps_to_transform(options.src);
  if (!steps.empty()) {
    require(from.full,
            "transform: {}: a training checkpoint knows how it is cut; try: without "
            "--src_ckpt_strategy",
            options.src);
    return transform_newest(options, steps, to);
  }
  const std::vector<std::string> files = files_to_transform(options.src, from.ranks());
  if (options.format == CheckpointFormat::ckpt)
    return transform_checkpoint(options, from, files, to);
  const LlamaConfig config = given_config(options);
  const TransformSource source(files, from, TransformSource::Verify::at_once);
  cut_native(content_of_ckpt(source, config, options.src), to, options.dst, cut_options(options));
}

void transform_checkpoint(const TransformOptions& options, const Strategy& from,
                          const std::vector<std::string>& files, const Strategy& to) {
  check_options(options);
  check_ranks(options, from, to);
  // Several that share the work need not all read all files.
  using enum TransformSource::Verify;
  const TransformSource source(files, from, options.rank_count == 0 ? at_once : on_first_use);
  check_some_known(source, from, to, options);
  Transformer(options, source, to).run();
}

}  // namespace cria
