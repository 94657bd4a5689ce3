// The manifest of a training checkpoint: which boxes of which tensors it holds and where, and sums over every byte of it.
// docs/formats/checkpoint.md.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_sums.h"
#include "tensor/dtype.h"

namespace cria {

/// A part of a tensor, and the file that has it, with the box's size as its shape.
struct StoredBox {
  std::vector<int64_t> begin, size;
  std::string file;
};
/// A logical tensor of 1 or 2 dims. Its boxes do not overlap.
struct StoredTensor {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  std::vector<StoredBox> boxes;
};
/// By Hugging Face's name.
using StoredGroup = std::map<std::string, StoredTensor>;

struct Manifest {
  int64_t step = 0;
  std::string config_sha256;   // of config.json
  int dp = 1, tp = 1, pp = 1;  // of the run that saved
  std::map<std::string, StoredGroup> groups;
  /// Version 1: group -> the file that holds its tensors, all of them whole. `groups` is empty then.
  std::map<std::string, std::string> whole_groups;
  std::map<std::string, FileSums> files;
  std::string state_json = "{}";
};

/// The text carries a sum of itself. Written as version 2.
std::string manifest_text(const Manifest& manifest);
/// Throws FormatError for anything but a whole manifest of a version we know, boxes outside their tensors, and files that are
/// not listed.
Manifest parse_manifest(std::string_view text, const std::string& path);

/// Adds another rank's boxes and files. Throws MismatchError when both have a file, or a tensor's shape or dtype differs.
void merge_manifest(Manifest& into, Manifest part);
/// Throws MismatchError naming a tensor whose boxes leave a part of it out; FormatError where boxes lie over each other.
void check_boxes(const Manifest& manifest, const std::string& path);

/// What stands before a tensor's name in the files of a group: nothing for "weights", else the group and a dot.
std::string name_prefix(const std::string& group);

/// A box of 1 or 2 dims as rows and columns; one of 1 dim is one row.
struct Rect {
  int64_t row = 0, col = 0, rows = 0, cols = 0;
  [[nodiscard]] int64_t elements() const { return rows * cols; }
};
Rect rect_of(const std::vector<int64_t>& begin, const std::vector<int64_t>& size);
/// What both cover; 0 rows or columns when nothing.
Rect common_part(const Rect& a, const Rect& b);

}  // namespace cria
