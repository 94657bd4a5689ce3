// The manifest of a training checkpoint: what it holds, and sums over every byte of it. docs/formats/checkpoint.md.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/file_sums.h"

namespace cria {

struct Manifest {
  int64_t step = 0;
  std::string config_sha256;                  // of config.json
  std::map<std::string, std::string> groups;  // group -> file that holds its tensors
  std::map<std::string, FileSums> files;
  std::string state_json = "{}";
};
/// The text carries a sum of itself.
std::string manifest_text(const Manifest& manifest);
/// Throws FormatError for anything but a whole manifest of a version we know.
Manifest parse_manifest(std::string_view text, const std::string& path);

}  // namespace cria
