#include "formats/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace cria {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;

struct Entry {
  TensorInfo info;
  uint64_t begin = 0, end = 0;
};

class Parser {
 public:
  Parser(std::span<const std::byte> file, const std::string& path) : file_(file), path_(path) {}

  SafetensorsLayout parse() {
    const std::string_view text = header_text();
    const Json json = parse_json(text, "safetensors", path_, 8);
    if (!json.is_object()) fail(8, "the header is no object", "{...}", "");
    std::vector<Entry> entries;
    entries.reserve(json.size());
    for (const auto& [name, value] : json.items()) {
      if (name == "__metadata__") {
        parse_metadata(value);
      } else {
        entries.push_back(parse_entry(name, value));
      }
    }
    std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    place(std::move(entries), 8 + text.size());
    return std::move(layout_);
  }

 private:
  [[noreturn]] void fail(uint64_t offset, std::string reason, std::string expected,
                         std::string found) const {
    throw FormatError(describe({.what = "safetensors",
                                .path = path_,
                                .offset = static_cast<int64_t>(offset),
                                .reason = std::move(reason),
                                .expected = std::move(expected),
                                .found = std::move(found)}));
  }
  [[noreturn]] void fail_tensor(std::string_view name, const std::string& reason,
                                std::string expected, std::string found) const {
    fail(8, fmt::format("tensor \"{}\": {}", escaped(name), reason), std::move(expected),
         std::move(found));
  }

  std::string_view header_text() const {
    if (file_.size() < 8) fail(0, "too short", "at least 8 bytes", std::to_string(file_.size()));
    const auto size = load_le<uint64_t>(file_, 0);
    if (size > kMaxHeader)
      fail(0, "the header is too large, or this is no safetensors file",
           fmt::format("at most {} bytes", kMaxHeader), std::to_string(size));
    if (size > file_.size() - 8)
      fail(0, "the file ends inside its header", fmt::format("{} bytes of header", size),
           std::to_string(file_.size() - 8));
    return text_of(file_.subspan(8, size));
  }

  void parse_metadata(const Json& json) {
    if (!json.is_object()) fail(8, "__metadata__ is no object", "text to text", "");
    for (const auto& [key, value] : json.items()) {
      if (!value.is_string())
        fail(8, fmt::format("__metadata__ key \"{}\" has no text", escaped(key)), "a text",
             escaped(value.dump()));
      layout_.metadata.emplace(key, value.get<std::string>());
    }
  }

  uint64_t integer(const std::string& name, const Json& json, const char* what) const {
    if (!json.is_number_unsigned() || json.get<uint64_t>() > INT64_MAX)
      fail_tensor(name, fmt::format("bad {}", what), "a plain integer", escaped(json.dump()));
    return json.get<uint64_t>();
  }

  Entry parse_entry(const std::string& name, const Json& json) const {
    if (!json.is_object() || json.size() != 3 || !json.contains("dtype") ||
        !json.contains("shape") || !json.contains("data_offsets"))
      fail_tensor(name, "bad entry", "dtype, shape and data_offsets", "");
    Entry entry;
    entry.info.name = name;
    const Json &dtype = json["dtype"], &shape = json["shape"], &range = json["data_offsets"];
    const auto known =
        dtype.is_string() ? dtype_from_name(dtype.get_ref<const std::string&>()) : std::nullopt;
    if (!known || is_quantised(*known))
      fail_tensor(name, "unknown dtype", "F32, BF16 or another of this program's types",
                  escaped(dtype.dump()));
    entry.info.dtype = *known;
    if (!shape.is_array()) fail_tensor(name, "bad shape", "a list", escaped(shape.dump()));
    for (const Json& d : shape)
      entry.info.shape.push_back(static_cast<int64_t>(integer(name, d, "dim")));
    if (!range.is_array() || range.size() != 2)
      fail_tensor(name, "bad data_offsets", "[begin, end]", escaped(range.dump()));
    entry.begin = integer(name, range[0], "data offset");
    entry.end = integer(name, range[1], "data offset");
    validate_tensor(entry.info, "safetensors", path_);
    const auto size = static_cast<uint64_t>(entry.info.size_bytes());
    if (entry.begin > entry.end || entry.end - entry.begin != size)
      fail_tensor(name, "its bytes do not fit its shape", fmt::format("{} bytes", size),
                  fmt::format("[{}, {}]", entry.begin, entry.end));
    return entry;
  }

  void place(std::vector<Entry> entries, uint64_t data) {
    uint64_t at = 0;
    for (Entry& entry : entries) {
      if (entry.begin != at)
        fail_tensor(entry.info.name, entry.begin < at ? "overlaps another" : "leaves a hole",
                    fmt::format("offset {}", at), std::to_string(entry.begin));
      at = entry.end;
      if (at > file_.size() - data)
        fail(data + entry.begin,
             fmt::format("the file ends inside tensor \"{}\"", escaped(entry.info.name)),
             fmt::format("{} bytes of data", at), std::to_string(file_.size() - data));
      layout_.offsets.push_back(data + entry.begin);
      layout_.tensors.push_back(std::move(entry.info));
    }
    if (at != file_.size() - data)
      fail(data + at, "bytes after the last tensor", fmt::format("{} bytes of data", at),
           std::to_string(file_.size() - data));
  }

  std::span<const std::byte> file_;
  const std::string& path_;
  SafetensorsLayout layout_;
};

class MappedSafetensors : public SafetensorsReader {
 public:
  explicit MappedSafetensors(const std::string& path) : file_(path) {
    SafetensorsLayout layout = parse_safetensors(file_.bytes(), path);
    offsets_ = std::move(layout.offsets);
    metadata_ = std::move(layout.metadata);
    set_tensors(std::move(layout.tensors), path);
  }
  void read(size_t index, uint64_t offset, std::span<std::byte> out) const override {
    const auto all = mapped(index);
    check(offset <= all.size() && out.size() <= all.size() - offset, "range inside the tensor");
    if (!out.empty()) std::memcpy(out.data(), all.subspan(offset).data(), out.size());
  }
  std::span<const std::byte> mapped(size_t index) const override {
    return file_.bytes().subspan(offsets_.at(index),
                                 static_cast<size_t>(tensors()[index].size_bytes()));
  }
  std::string path_of(size_t /*index*/) const override { return file_.path(); }
  const SafetensorsMetadata& metadata() const override { return metadata_; }

 private:
  MappedFile file_;
  std::vector<uint64_t> offsets_;
  SafetensorsMetadata metadata_;
};

}  // namespace

SafetensorsLayout parse_safetensors(std::span<const std::byte> file, const std::string& path) {
  return Parser(file, path).parse();
}

std::unique_ptr<SafetensorsReader> open_safetensors(const std::string& path) {
  return std::make_unique<MappedSafetensors>(path);
}

}  // namespace cria
