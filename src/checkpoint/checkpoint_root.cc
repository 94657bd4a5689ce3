#include "checkpoint/checkpoint_root.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/train_checkpoint.h"

namespace cria {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const char* what, const std::string& path) {
  throw IoError(describe({.what = what, .path = path, .reason = std::strerror(errno)}));
}

void rename_folder(const std::string& from, const std::string& to, const std::string& root) {
  if (rename(from.c_str(), to.c_str()) != 0) fail("rename", from);
  sync_folder(root);
}

void move_to_trash(const std::string& root, int64_t step) {
  rename_folder(checkpoint_folder(root, step),
                join_path(root, fmt::format(".trash-{}-{}", step, random_id())), root);
}

// Everything directly in `root` whose name is one of them.
template <class Chosen>
void remove_all_in(const std::string& root, const Chosen& chosen) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
    if (chosen(it->path().filename().string())) found.push_back(it->path());
  }
  for (const fs::path& path : found) fs::remove_all(path, error);
}

bool is_trash(const std::string& name) { return name.starts_with(".trash-"); }

}  // namespace

std::string random_id() {
  std::random_device random;
  return fmt::format("{:08x}", random());
}

FolderLock::FolderLock(const std::string& folder) {
  const std::string lock = join_path(folder, ".lock");
  file_ = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file_ < 0) fail("lock", lock);
  if (flock(file_, LOCK_EX | LOCK_NB) == 0) return;
  const int reason = errno;
  close(file_);
  require<IoError>(reason != EWOULDBLOCK,
                   "save: {}: in use by another run; try: another output folder, or stop that run",
                   folder);
  errno = reason;
  fail("lock", lock);
}

FolderLock::~FolderLock() { close(file_); }

void clear_leftovers(const std::string& root) {
  remove_all_in(root, [](const std::string& name) {
    return name.starts_with(".tmp-") || is_trash(name) || name.find(".part-") != std::string::npos;
  });
}

void check_free_space(const std::string& root, uint64_t bytes) {
  const uint64_t needed = bytes + bytes / 10;
  struct statvfs info = {};
  if (statvfs(root.c_str(), &info) != 0) fail("save", root);
  const uint64_t free = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  require<IoError>(
      free >= needed,
      "save: {}: {} MiB are free, a checkpoint needs {} MiB; try: another disk, or save fewer",
      root, free >> 20, needed >> 20);
}

void commit_step(const std::string& root, const std::string& temporary, int64_t step) {
  const std::string target = checkpoint_folder(root, step);
  sync_folder(temporary);
  if (fs::exists(target)) move_to_trash(root, step);
  rename_folder(temporary, target, root);  // the commit point
}

void remove_old_steps(const std::string& root, int keep) {
  const std::vector<int64_t> steps = checkpoint_steps(root);
  for (size_t i = 0; i + static_cast<size_t>(std::max(keep, 2)) < steps.size(); ++i)
    move_to_trash(root, steps[i]);
  remove_all_in(root, is_trash);
}

}  // namespace cria
