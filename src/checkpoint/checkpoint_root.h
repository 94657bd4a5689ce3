// The folder that holds a run's checkpoints: its lock, its left-overs, its old steps. Used by one rank alone.
#pragma once

#include <cstdint>
#include <string>

namespace cria {

/// Keeps other runs from writing below a folder while it lives. Throws IoError when another has it.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_ = -1;
};

/// Removes what dead runs left: `.tmp-*`, `*.part-*`, `.trash-*`. The folder's lock must be ours.
void clear_leftovers(const std::string& root);
/// Throws IoError unless the disk has 1.1 times this many bytes free.
void check_free_space(const std::string& root, uint64_t bytes);
/// Gives a finished folder the name of its step: the commit. One that has the name already goes to the trash.
void commit_step(const std::string& root, const std::string& temporary, int64_t step);
/// Removes all but the newest `keep` steps, and the trash.
void remove_old_steps(const std::string& root, int keep);
/// A part of a name that nobody else will use.
std::string random_id();

}  // namespace cria
