// A folder of its own for a test, removed afterwards.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <string>

namespace cria {

/// A folder on a disk of memory with room enough, or the usual temporary folder: for tests that write often and do not ask
/// whether a disk keeps what was synced.
inline std::filesystem::path quick_folder() {
  std::error_code error;
  const auto space = std::filesystem::space("/dev/shm", error);
  constexpr uintmax_t kEnough = uintmax_t{1} << 30;
  return !error && space.available > kEnough ? std::filesystem::path("/dev/shm")
                                             : std::filesystem::temp_directory_path();
}

class TemporaryFolder {
 public:
  TemporaryFolder() : TemporaryFolder(std::filesystem::temp_directory_path()) {}
  static TemporaryFolder in_memory() { return TemporaryFolder(quick_folder()); }
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
  /// How many files and folders lie in it.
  [[nodiscard]] size_t entries() const {
    const std::filesystem::directory_iterator begin(path_);
    return static_cast<size_t>(std::distance(begin, std::filesystem::directory_iterator()));
  }

 private:
  explicit TemporaryFolder(const std::filesystem::path& parent) {
    std::string name = (parent / ("cria_test_" + std::string(6, 'X'))).string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  std::filesystem::path path_;
};

}  // namespace cria
