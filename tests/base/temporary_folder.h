// A folder of its own for a test, removed afterwards.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace cria {

class TemporaryFolder {
 public:
  TemporaryFolder() : TemporaryFolder(std::filesystem::temp_directory_path()) {}
  /// On a disk of memory where there is one: for tests that save often and do not ask whether a disk keeps what was synced.
  static TemporaryFolder in_memory() {
    return TemporaryFolder(std::filesystem::is_directory("/dev/shm")
                               ? "/dev/shm"
                               : std::filesystem::temp_directory_path());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::string operator/(const std::string& name) const {
    return (path_ / name).string();
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  explicit TemporaryFolder(const std::filesystem::path& parent) {
    std::string name = (parent / ("cria_test_" + std::string(6, 'X'))).string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  std::filesystem::path path_;
};

}  // namespace cria
