// The structure of a checkpoint file, entry by entry.
#include <zlib.h>

#include <unordered_set>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "formats/mindspore_ckpt.h"
#include "formats/wire.h"

namespace cria {
namespace {

constexpr std::string_view kWhat = "MindSpore checkpoint";
constexpr size_t kTrailer = 17;  // "crc_num" and ten bytes, big-endian

// One Value message: a parameter, or one piece of it.
struct Entry {
  std::string name, type;
  std::vector<int64_t> dims;
  std::span<const std::byte> content;
  uint64_t offset = 0;          // of the entry
  uint64_t content_offset = 0;  // of the content

  [[nodiscard]] bool continues(const Entry& first) const {
    return name == first.name && type == first.type && dims == first.dims;
  }
};

std::string required_text(const WireReader& reader, const WireField& field, const char* what) {
  std::string text(text_of(field.bytes));
  if (find_invalid_utf8(text)) reader.fail(field.offset, fmt::format("{} is not UTF-8", what));
  return text;
}

class Parser {
 public:
  Parser(std::span<const std::byte> file, const std::string& path)
      : file_(file), path_(path), top_(file, 0, kWhat, path) {}

  MindsporeLayout parse() {
    refuse_encrypted();
    check_trailer();
    top_ = WireReader(file_, 0, kWhat, path_);
    while (const auto field = top_.next()) {
      if (field->number != 1 || field->kind != WireField::Kind::bytes)
        top_.fail(field->offset, "this is no MindSpore checkpoint", "entries in field 1",
                  fmt::format("field {}", field->number));
      Entry entry = parse_entry(*field);
      if (!pieces_.empty() && entry.name == first_.name) {
        if (!entry.continues(first_))
          top_.fail(entry.offset,
                    fmt::format("a piece of \"{}\" with other dims or type", escaped(entry.name)));
        pieces_.push_back({entry.content_offset, entry.content.size()});
        continue;
      }
      finish_tensor();
      if (!names_.insert(entry.name).second)
        top_.fail(entry.offset, fmt::format("parameter \"{}\" appears twice", escaped(entry.name)));
      start(std::move(entry));
    }
    finish_tensor();
    return std::move(layout_);
  }

 private:
  void refuse_encrypted() const {
    if (file_.size() < 4) return;
    const auto magic = load_le<uint32_t>(file_, 0);
    if (magic < 0x7f3a5ed8 || magic > 0x7f3a5eda) return;
    throw FormatError(describe({.what = kWhat,
                                .path = path_,
                                .offset = 0,
                                .reason = "the file is encrypted",
                                .hint = "load it in MindSpore with its key and save it plain"}));
  }

  void check_trailer() {
    if (file_.size() < kTrailer) return;
    const auto trailer = file_.last(kTrailer);
    if (text_of(trailer.first(7)) != "crc_num") return;
    file_ = file_.first(file_.size() - kTrailer);
    const auto high = load_be<uint16_t>(trailer, 7);
    const auto expected = load_be<uint64_t>(trailer, 9);
    const uint64_t found = crc32_z(0, reinterpret_cast<const Bytef*>(file_.data()), file_.size());
    if (high != 0 || expected != found)
      top_.fail(file_.size(), "the checksum does not fit: the file is damaged",
                fmt::format("{:08x}", expected), fmt::format("{:08x}", found));
    layout_.has_checksum = true;
  }

  Entry parse_entry(const WireField& field) {
    WireReader reader(field, top_);
    Entry entry{.offset = field.offset};
    bool named = false, filled = false;
    while (const auto f = reader.next()) {
      if (f->number > 3) continue;
      if (f->kind != WireField::Kind::bytes) reader.fail(f->offset, "a field of the wrong type");
      if (f->number == 3) reader.fail(f->offset, "a hash table, which is not supported");
      if (std::exchange(f->number == 1 ? named : filled, true))
        reader.fail(f->offset, "an entry with a name or a tensor twice");
      if (f->number == 1) {
        entry.name = required_text(reader, *f, "a parameter's name");
      } else {
        parse_tensor(*f, reader, entry);
      }
    }
    if (!named || !filled) reader.fail(field.offset, "an entry without name or tensor");
    return entry;
  }

  static void parse_tensor(const WireField& field, const WireReader& outer, Entry& entry) {
    WireReader reader(field, outer);
    bool typed = false, filled = false;
    while (const auto f = reader.next()) {
      if (f->number > 3) continue;
      if (f->number == 1) {
        parse_dims(*f, reader, entry);
        continue;
      }
      if (f->kind != WireField::Kind::bytes) reader.fail(f->offset, "a field of the wrong type");
      if (std::exchange(f->number == 2 ? typed : filled, true))
        reader.fail(f->offset, "a tensor with type or content twice");
      if (f->number == 2) {
        entry.type = required_text(reader, *f, "a tensor's type");
      } else {
        entry.content = f->bytes;
        entry.content_offset = f->offset;
      }
    }
    if (!typed || !filled) reader.fail(field.offset, "a tensor without type or content");
  }

  static void parse_dims(const WireField& field, const WireReader& outer, Entry& entry) {
    const auto add = [&](uint64_t dim) {
      if (dim > INT64_MAX || entry.dims.size() == 8)
        outer.fail(field.offset, "bad dims", "at most 8, none negative");
      entry.dims.push_back(static_cast<int64_t>(dim));
    };
    if (field.kind == WireField::Kind::varint) return add(field.value);
    if (field.kind != WireField::Kind::bytes) outer.fail(field.offset, "a field of the wrong type");
    WireReader packed(field, outer);
    while (const auto dim = packed.next_varint()) add(*dim);
  }

  void start(Entry entry) {
    if (entry.type == "str") {
      layout_.texts.emplace_back(entry.name, text(entry));
      return;
    }
    const auto dtype = mindspore_type(entry.type);
    if (!dtype)
      top_.fail(entry.offset,
                fmt::format("parameter \"{}\" has an unknown type", escaped(entry.name)),
                "Float32, BFloat16 or another plain type", escaped(entry.type));
    pieces_.push_back({entry.content_offset, entry.content.size()});
    first_ = std::move(entry);
    dtype_ = *dtype;
  }

  std::string text(const Entry& entry) const {
    validate_tensor({.name = entry.name}, kWhat, path_);
    if (entry.content.size() % 4 != 0)
      top_.fail(entry.content_offset, "a text whose size is no multiple of 4");
    std::string out;
    for (size_t i = 0; i < entry.content.size(); i += 4) {
      const auto c = load_le<uint32_t>(entry.content, i);
      if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        top_.fail(entry.content_offset + i, "a text with something that is no character");
      append_utf8(out, c);
    }
    return out;
  }

  // Closes the tensor whose pieces were gathered, if there is one.
  void finish_tensor() {
    if (pieces_.empty()) return;
    uint64_t size = 0;
    for (const MindsporePiece& piece : pieces_) size += piece.size;
    TensorInfo info{.name = first_.name, .dtype = dtype_, .shape = first_.dims};
    // MindSpore 2.0 writes a 0-d tensor with one dim of 0.
    if (info.shape == std::vector<int64_t>{0} && size > 0) info.shape.clear();
    validate_tensor(info, kWhat, path_);
    if (size != static_cast<uint64_t>(info.size_bytes()))
      top_.fail(first_.content_offset,
                fmt::format("bad size of parameter \"{}\"", escaped(info.name)),
                fmt::format("{} bytes", info.size_bytes()), std::to_string(size));
    layout_.tensors.push_back(std::move(info));
    layout_.pieces.push_back(std::move(pieces_));
    pieces_.clear();
  }

  std::span<const std::byte> file_;
  const std::string& path_;
  WireReader top_;
  MindsporeLayout layout_;
  std::unordered_set<std::string> names_;
  Entry first_;  // of the tensor being gathered
  DType dtype_ = DType::f32;
  std::vector<MindsporePiece> pieces_;
};

}  // namespace

MindsporeLayout parse_mindspore_ckpt(std::span<const std::byte> file, const std::string& path) {
  return Parser(file, path).parse();
}

}  // namespace cria
