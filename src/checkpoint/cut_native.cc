#include "checkpoint/cut_native.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint_root.h"
#include "checkpoint/checkpoint_share.h"
#include "checkpoint/names.h"
#include "checkpoint/new_folders.h"
#include "checkpoint/train_checkpoint.h"
#include "formats/safetensors.h"

namespace cria {
namespace {

namespace fs = std::filesystem;

/// What one rank writes of one group.
struct CutFile {
  struct Item {
    const NativeTensor* tensor;
    Part part;
  };
  std::string name;
  std::vector<Item> items;
};

std::string recipe_name(const NativeTensor& t) { return to_dialect(Dialect::mindformers, t.name); }

/// Where the tensor is, and how it is cut there. Masters are cut as moments are; weights are whole on the ranks that share the
/// optimizer's state.
std::pair<uint32_t, ParamLayout> layout_of(const NativeTensor& t, const Strategy& to) {
  const bool weights = t.group == "weights";
  const Strategy::Placement* placement = weights ? nullptr : to.find("adam_m." + recipe_name(t));
  if (placement == nullptr) placement = to.find(recipe_name(t));
  require<MismatchError>(placement != nullptr,
                         "transform: parameter \"{}\" is not in the destination's strategy; try: "
                         "the strategy of a run of this network",
                         recipe_name(t));
  auto [stage, layout] = *placement->begin();
  if (weights) layout.opt_weight_shard_size = layout.opt_weight_shard_step = 0;
  return {stage, layout};
}

/// The boxes of a tensor, each with the lowest rank that holds it.
std::vector<std::pair<int64_t, Part>> boxes_of(const NativeTensor& t, const Strategy& to) {
  if (to.full) return {{0, whole(t.shape)}};
  const auto [stage, layout] = layout_of(t, to);
  std::set<std::vector<int64_t>> seen;
  std::vector<std::pair<int64_t, Part>> boxes;
  for (int64_t i = 0; i < to.devices; ++i) {
    Part part = part_of(layout, t.shape, i, name_prefix(t.group) + recipe_name(t));
    if (seen.insert(part.begin).second) boxes.emplace_back(stage * to.devices + i, std::move(part));
  }
  return boxes;
}

std::vector<CutFile> files_of_group(const std::string& group,
                                    const std::vector<const NativeTensor*>& tensors,
                                    const Strategy& to, Manifest& manifest) {
  std::vector<CutFile> by_rank(static_cast<size_t>(to.ranks()));
  for (const NativeTensor* t : tensors)
    for (auto& [rank, part] : boxes_of(*t, to))
      by_rank[static_cast<size_t>(rank)].items.push_back({t, std::move(part)});
  std::vector<int64_t> writes;
  for (const CutFile& file : by_rank) writes.push_back(file.items.empty() ? 0 : 1);
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    CutFile& file = by_rank[rank];
    if (file.items.empty()) continue;
    file.name = share_file_name(group, writes, static_cast<int64_t>(rank));
    for (const auto& [t, part] : file.items) {
      StoredTensor& stored = manifest.groups[group][t->name];
      stored.dtype = t->dtype;
      stored.shape = t->shape;
      stored.boxes.push_back({part.begin, part.size, file.name});
    }
  }
  std::erase_if(by_rank, [](const CutFile& file) { return file.items.empty(); });
  return by_rank;
}

/// How many ranks divide the layers' matrices among themselves, by the layout of one of them.
int tp_of(const Strategy& to) {
  const auto* placement =
      to.find(to_dialect(Dialect::mindformers, "model.layers.0.self_attn.q_proj.weight"));
  if (to.full || placement == nullptr) return 1;
  ParamLayout layout = placement->begin()->second;
  layout.opt_weight_shard_size = layout.opt_weight_shard_step = 0;
  return static_cast<int>(cuts_of(layout, 2, "q_proj")[0]);
}

/// The folder of checkpoints while one is written into it: locked, and as it was before when that fails.
class Root {
 public:
  Root(const std::string& path, int64_t step, uint64_t bytes) : path_(path), step_(step) {
    require(!is_file(join_path(path, "manifest.json")),
            "transform: {}: this is one training checkpoint, expected a folder for several", path);
    folders_.make(path);
    const std::string lock = join_path(path, ".lock");
    new_lock_ = !fs::exists(lock);
    // From here on a failure leaves something to clear.
    try {
      lock_.emplace(path);
      // Only a folder of checkpoints has such left-overs; others may have files of the user's by these names.
      if (!new_lock_) clear_leftovers(path);
      require(!fs::exists(checkpoint_folder(path, step)),
              "transform: {}: it is there already; try: another --dst_ckpt_dir",
              checkpoint_folder(path, step));
      check_free_space(path, bytes + (1 << 20));
      temporary_ = join_path(path, fmt::format(".tmp-step-{:010}-{}", step, random_id()));
      make_folders(temporary_);
      sync_folder(path);
    } catch (...) {
      clear();
      throw;
    }
  }
  ~Root() { clear(); }
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;

  [[nodiscard]] const std::string& temporary() const { return temporary_; }
  std::string commit() {
    commit_step(path_, temporary_, step_);
    temporary_.clear();
    new_lock_ = false;
    folders_.keep();
    const std::string newest = checkpoint_folder(path_, checkpoint_steps(path_).back());
    write_file(join_path(path_, "latest"), base_name(newest) + "\n");
    return checkpoint_folder(path_, step_);
  }

 private:
  void clear() {
    std::error_code ignored;
    if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
    if (new_lock_) fs::remove(join_path(path_, ".lock"), ignored);
    new_lock_ = false;
  }
  std::string path_;
  int64_t step_;
  NewFolders folders_;
  bool new_lock_ = false;
  std::optional<FolderLock> lock_;
  std::string temporary_;
};

class Cutter {
 public:
  Cutter(const NativeContent& content, const Strategy& to, const CutOptions& options)
      : options_(options) {
    std::map<std::string, std::vector<const NativeTensor*>> groups;
    for (const NativeTensor& t : content.tensors) groups[t.group].push_back(&t);
    for (const auto& [group, tensors] : groups)
      std::ranges::move(files_of_group(group, tensors, to, manifest_), std::back_inserter(files_));
    for (const CutFile& file : files_) total_ += std::ssize(file.items);
    check_boxes(manifest_, "the new checkpoint");
    manifest_.step = content.step;
    manifest_.state_json = content.state_json;
    manifest_.tp = tp_of(to);
    manifest_.dp = static_cast<int>(to.devices) / manifest_.tp;
    manifest_.pp = static_cast<int>(to.stages);
  }

  [[nodiscard]] uint64_t bytes() const {
    int64_t bytes = 0;
    for (const CutFile& file : files_)
      for (const auto& [t, part] : file.items)
        bytes += TensorInfo{t->name, t->dtype, part.size}.size_bytes();
    return static_cast<uint64_t>(bytes);
  }

  Manifest write(const std::string& folder) {
    ThreadPool pool(std::min<int>(options_.threads, static_cast<int>(files_.size())));
    pool.parallel_for(std::ssize(files_),
                      [&](int64_t i) { write_file_of(folder, files_[static_cast<size_t>(i)]); });
    return std::move(manifest_);
  }

 private:
  void write_file_of(const std::string& folder, const CutFile& file) {
    std::vector<TensorInfo> infos;
    for (const auto& [t, part] : file.items)
      infos.push_back({name_prefix(t->group) + t->name, t->dtype, part.size});
    const std::string path = join_path(folder, file.name);
    const auto writer = make_safetensors_writer(path, infos, {{"format", "pt"}});
    for (const auto& [t, part] : file.items) {
      copy_part(t->read, t->dtype, part, *writer);
      report();
    }
    writer->commit();
    ThreadPool alone(1);
    FileSums sums = sums_of(MappedFile(path).bytes(), alone);
    const std::lock_guard lock(mutex_);
    manifest_.files[file.name] = std::move(sums);
  }
  void report() {
    const std::lock_guard lock(mutex_);
    ++done_;
    if (options_.progress) options_.progress(done_, total_);
  }

  const CutOptions& options_;
  std::vector<CutFile> files_;
  Manifest manifest_;
  std::mutex mutex_;
  int64_t done_ = 0, total_ = 0;
};

}  // namespace

std::string cut_native(const NativeContent& content, const Strategy& to, const std::string& root,
                       const CutOptions& options) {
  Cutter cutter(content, to, options);
  Root folder(root, content.step, cutter.bytes());
  write_manifest(folder.temporary(), cutter.write(folder.temporary()), content.config_json);
  return folder.commit();
}

}  // namespace cria
