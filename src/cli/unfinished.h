// Files that a command makes before it knows that all its input is good.
#pragma once

#include <string>
#include <vector>

namespace cria::cli {

/// An output folder, made where it is missing. Unless kept, it goes at the end with the files that were named, as far as
/// that leaves nothing of others behind: a command that fails in its preparations leaves no output.
class Unfinished {
 public:
  explicit Unfinished(const std::string& folder);
  ~Unfinished();
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  void file(std::string path) { files_.push_back(std::move(path)); }
  void keep() { kept_ = true; }

 private:
  std::vector<std::string> folders_;  // made here, the innermost first
  std::vector<std::string> files_;
  bool kept_ = false;
};

}  // namespace cria::cli
