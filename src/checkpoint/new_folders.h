// Folders for an output that may yet fail.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace cria {

/// Makes folders, and takes those it made away again, where they are empty, unless they are kept.
class NewFolders {
 public:
  NewFolders() = default;
  NewFolders(const NewFolders&) = delete;
  NewFolders& operator=(const NewFolders&) = delete;
  ~NewFolders();
  /// With its missing parents. False when it was there. Throws IoError.
  bool make(const std::string& path);
  void keep() { made_.clear(); }

 private:
  std::vector<std::filesystem::path> made_;
};

}  // namespace cria
