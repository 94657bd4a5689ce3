#include "formats/mindspore_ckpt.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace cria {
namespace {

struct TypeName {
  DType dtype;
  std::string_view name;
};
constexpr std::array kTypes = {TypeName{DType::f32, "Float32"}, TypeName{DType::f16, "Float16"},
                               TypeName{DType::f64, "Float64"}, TypeName{DType::bf16, "BFloat16"},
                               TypeName{DType::i8, "Int8"},     TypeName{DType::i16, "Int16"},
                               TypeName{DType::i32, "Int32"},   TypeName{DType::i64, "Int64"},
                               TypeName{DType::u8, "UInt8"},    TypeName{DType::u16, "UInt16"},
                               TypeName{DType::u32, "UInt32"},  TypeName{DType::u64, "UInt64"},
                               TypeName{DType::boolean, "Bool"}};

class MappedCheckpoint : public MindsporeReader {
 public:
  explicit MappedCheckpoint(const std::string& path) : file_(path) {
    MindsporeLayout layout = parse_mindspore_ckpt(file_.bytes(), path);
    pieces_ = std::move(layout.pieces);
    texts_ = std::move(layout.texts);
    set_tensors(std::move(layout.tensors), path);
  }
  void read(size_t index, uint64_t offset, std::span<std::byte> out) const override {
    for (const MindsporePiece& piece : pieces_.at(index)) {
      if (out.empty()) return;
      if (offset >= piece.size) {
        offset -= piece.size;
        continue;
      }
      const size_t n = std::min<uint64_t>(piece.size - offset, out.size());
      std::memcpy(out.data(), file_.bytes().subspan(piece.offset + offset, n).data(), n);
      out = out.subspan(n);
      offset = 0;
    }
    check(out.empty(), "range inside the tensor");
  }
  std::span<const std::byte> mapped(size_t index) const override {
    const auto& pieces = pieces_.at(index);
    if (pieces.size() != 1) return {};
    return file_.bytes().subspan(pieces[0].offset, pieces[0].size);
  }
  std::string path_of(size_t /*index*/) const override { return file_.path(); }
  const std::vector<MindsporeText>& texts() const override { return texts_; }

 private:
  MappedFile file_;
  std::vector<std::vector<MindsporePiece>> pieces_;
  std::vector<MindsporeText> texts_;
};

}  // namespace

std::string_view mindspore_type_name(DType dtype) {
  for (const TypeName& t : kTypes) {
    if (t.dtype == dtype) return t.name;
  }
  return {};
}

std::optional<DType> mindspore_type(std::string_view name) {
  for (const TypeName& t : kTypes) {
    if (t.name == name) return t.dtype;
  }
  return std::nullopt;
}

std::unique_ptr<MindsporeReader> open_mindspore_ckpt(const std::string& path) {
  auto reader = std::make_unique<MappedCheckpoint>(path);
  // Protobuf reads no bytes as no entries, but what lies on disk like that is a copy that failed.
  require<FormatError>(!reader->tensors().empty() || !reader->texts().empty(),
                       "ckpt: {}: the file is empty, expected parameters", path);
  return reader;
}

}  // namespace cria
