#include "checkpoint/new_folders.h"

#include "base/file.h"

namespace cria {

NewFolders::~NewFolders() {
  std::error_code ignored;
  for (size_t i = made_.size(); i-- > 0;) std::filesystem::remove(made_[i], ignored);
}

bool NewFolders::make(const std::string& path) {
  std::vector<std::filesystem::path> missing;
  for (std::filesystem::path p = std::filesystem::absolute(path).lexically_normal();
       !std::filesystem::exists(p); p = p.parent_path())
    missing.push_back(p);
  made_.insert(made_.end(), missing.rbegin(), missing.rend());
  make_folders(path);
  return !missing.empty();
}

}  // namespace cria
