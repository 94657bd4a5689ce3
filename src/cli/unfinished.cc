#include "cli/unfinished.h"

#include <filesystem>

#include "base/file.h"

namespace cria::cli {

Unfinished::Unfinished(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code none;
  for (fs::path path = fs::path(folder).lexically_normal();
       !path.empty() && !fs::exists(path, none); path = path.parent_path())
    folders_.push_back(path.string());
  make_folders(folder);
}

Unfinished::~Unfinished() {
  if (kept_) return;
  std::error_code none;
  for (const std::string& path : files_) std::filesystem::remove(path, none);
  // remove() takes empty folders only.
  for (const std::string& path : folders_) std::filesystem::remove(path, none);
}

}  // namespace cria::cli
