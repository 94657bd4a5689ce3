#include "formats/tensor_file.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"

namespace cria {

int64_t TensorInfo::elements() const {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

std::optional<size_t> TensorReader::find(std::string_view name) const {
  const auto it = index_.find(name);
  if (it == index_.end()) return std::nullopt;
  return it->second;
}

void TensorReader::set_tensors(std::vector<TensorInfo> tensors, const std::string& path) {
  tensors_ = std::move(tensors);
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!index_.emplace(tensors_[i].name, i).second) {
      throw FormatError(describe(
          {.what = "read",
           .path = path,
           .reason = fmt::format("tensor \"{}\" appears twice", escaped(tensors_[i].name))}));
    }
  }
}

void validate_tensor(const TensorInfo& t, std::string_view format, std::string_view path) {
  const auto fail = [&](std::string reason, std::string expected, std::string found) {
    throw FormatError(describe({.what = format,
                                .path = path,
                                .reason = fmt::format("tensor \"{}\": {}", escaped(t.name), reason),
                                .expected = std::move(expected),
                                .found = std::move(found)}));
  };
  if (t.name.empty() || t.name.size() > 512)
    fail("bad length of its name", "1 to 512 bytes", std::to_string(t.name.size()));
  if (find_invalid_utf8(t.name)) fail("its name is not UTF-8", "", "");
  for (const char c : t.name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      fail("control character in its name", "", "");
  }
  if (t.shape.size() > 8) fail("too many dims", "at most 8", std::to_string(t.shape.size()));
  uint64_t bits = static_cast<uint64_t>(block_bytes(t.dtype));
  for (const int64_t d : t.shape) {
    if (d < 0) fail("negative dim", "0 or more", std::to_string(d));
    const auto product = checked_mul(bits, static_cast<uint64_t>(d));
    if (!product || *product > (uint64_t{1} << 62))
      fail("its size overflows", "less than 2^62 bytes", "");
    if (*product == 0) return;
    bits = *product;
  }
  if (block_elements(t.dtype) > 1 &&
      (t.shape.empty() || t.shape.back() % block_elements(t.dtype) != 0)) {
    fail(fmt::format("last dim does not fill blocks of {}", name_of(t.dtype)),
         fmt::format("a multiple of {}", block_elements(t.dtype)),
         t.shape.empty() ? "none" : std::to_string(t.shape.back()));
  }
}

}  // namespace cria
