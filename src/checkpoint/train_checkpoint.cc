// Saving by the commit protocol: everything into a temporary folder, synced; the manifest last; then one rename.
#include "checkpoint/train_checkpoint.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/thread_pool.h"
#include "checkpoint/manifest.h"
#include "formats/safetensors.h"

namespace cria {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kManifest = "manifest.json";

[[noreturn]] void fail(const char* what, const std::string& path) {
  throw IoError(describe({.what = what, .path = path, .reason = std::strerror(errno)}));
}

void rename_folder(const std::string& from, const std::string& to, const std::string& root) {
  if (rename(from.c_str(), to.c_str()) != 0) fail("rename", from);
  sync_folder(root);
}

std::string random_id() {
  std::random_device random;
  return fmt::format("{:08x}", random());
}

// Names that only a dead run can have left: the lock is ours.
bool is_leftover(const std::string& name) {
  return name.starts_with(".tmp-") || name.starts_with(".trash-") ||
         name.find(".part-") != std::string::npos;
}

void write_group(const std::string& folder, const std::string& file, const std::string& prefix,
                 const ParamArena& arena) {
  std::vector<TensorInfo> infos;
  for (const Param& p : arena.params()) infos.push_back({prefix + p.name, arena.dtype(), p.shape});
  const auto writer = make_safetensors_writer(join_path(folder, file), infos, {{"format", "pt"}});
  for (size_t i = 0; i < arena.params().size(); ++i) {
    const ConstView v = arena[static_cast<int64_t>(i)];
    writer->write({static_cast<const std::byte*>(v.data),
                   static_cast<size_t>(bytes_of(v.dtype, v.elements()))});
  }
  writer->commit();
}

void check_free_space(const std::string& root, const CheckpointContent& content) {
  uint64_t needed = 1 << 20;
  for (const auto& [group, arena] : content.groups) needed += arena->size_bytes();
  needed += needed / 10;
  struct statvfs info = {};
  if (statvfs(root.c_str(), &info) != 0) fail("save", root);
  const uint64_t free = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  require<IoError>(
      free >= needed,
      "save: {}: {} MiB are free, a checkpoint needs {} MiB; try: another disk, or save fewer",
      root, free >> 20, needed >> 20);
}

}  // namespace

std::string checkpoint_folder(const std::string& root, int64_t step) {
  return join_path(root, fmt::format("step-{:010}", step));
}

std::vector<int64_t> checkpoint_steps(const std::string& root) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (fs::directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    int64_t step = 0;
    if (name.size() != 15 || !name.starts_with("step-")) continue;
    const auto [at, bad] = std::from_chars(name.data() + 5, name.data() + name.size(), step);
    if (bad != std::errc() || at != name.data() + name.size()) continue;
    if (is_file(join_path(it->path().string(), kManifest))) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

CheckpointStore::CheckpointStore(std::string root) : root_(std::move(root)) {
  make_folders(root_);
  const std::string lock = join_path(root_, ".lock");
  lock_ = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) fail("lock", lock);
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    const bool taken = errno == EWOULDBLOCK;
    close(lock_);
    require<IoError>(
        !taken, "save: {}: in use by another run; try: another output folder, or stop that run",
        root_);
    fail("lock", lock);
  }
  std::vector<fs::path> leftovers;
  std::error_code error;
  for (fs::directory_iterator it(root_, error), end; !error && it != end; it.increment(error)) {
    if (is_leftover(it->path().filename().string())) leftovers.push_back(it->path());
  }
  for (const fs::path& path : leftovers) fs::remove_all(path, error);
  const std::string test = join_path(root_, ".tmp-test");
  write_file(test, "test");
  unlink(test.c_str());
}

CheckpointStore::~CheckpointStore() { close(lock_); }

std::string CheckpointStore::save(int64_t step, const LlamaConfig& config,
                                  const CheckpointContent& content, int keep) {
  check_free_space(root_, content);
  const std::string temporary =
      join_path(root_, fmt::format(".tmp-step-{:010}-{}", step, random_id()));
  const std::string target = checkpoint_folder(root_, step);
  make_folders(temporary);
  sync_folder(root_);
  ThreadPool pool;
  try {
    Manifest manifest;
    manifest.step = step;
    manifest.state_json = content.state_json;
    const auto add = [&](const std::string& file) {
      const MappedFile written(join_path(temporary, file));
      manifest.files[file] = sums_of(written.bytes(), pool);
    };
    DType stored = DType::f32;
    for (const auto& [group, arena] : content.groups) {
      const bool weights = group == "weights";
      const std::string file = weights ? "model.safetensors" : group + ".safetensors";
      if (weights) stored = arena->dtype();
      write_group(temporary, file, weights ? "" : group + ".", *arena);
      manifest.groups[group] = file;
      add(file);
    }
    const std::string config_text = hf_config_json(config, stored);
    write_file(join_path(temporary, "config.json"), config_text);
    add("config.json");
    manifest.config_sha256 = sha256_hex(std::as_bytes(std::span(config_text)));
    write_file(join_path(temporary, kManifest), manifest_text(manifest));
    sync_folder(temporary);
    if (fs::exists(target))
      rename_folder(target, join_path(root_, fmt::format(".trash-{}-{}", step, random_id())),
                    root_);
    rename_folder(temporary, target, root_);  // the commit point
  } catch (...) {
    std::error_code error;
    fs::remove_all(temporary, error);
    throw;
  }
  write_file(join_path(root_, "latest"), base_name(target) + "\n");  // for people; resuming scans
  std::vector<int64_t> steps = checkpoint_steps(root_);
  for (size_t i = 0; i + static_cast<size_t>(std::max(keep, 2)) < steps.size(); ++i) {
    const std::string trash = join_path(root_, fmt::format(".trash-{}-{}", steps[i], random_id()));
    rename_folder(checkpoint_folder(root_, steps[i]), trash, root_);
  }
  std::error_code error;
  std::vector<fs::path> trash;
  for (const auto& entry : fs::directory_iterator(root_, error)) {
    if (entry.path().filename().string().starts_with(".trash-")) trash.push_back(entry.path());
  }
  for (const fs::path& path : trash) fs::remove_all(path, error);
  return target;
}

}  // namespace cria
