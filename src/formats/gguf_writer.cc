#include <algorithm>
#include <set>

#include "base/checked.h"
#include "formats/gguf_cursor.h"

namespace cria {
namespace {

// The head of the file, everything before the contents of tensors.
class Head {
 public:
  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  template <class T>
    requires std::is_arithmetic_v<T>
  void put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void put(bool value) { bytes_ += static_cast<char>(value); }
  void put(GgufType type) { put(static_cast<uint32_t>(type)); }
  void put(std::string_view text) {
    put(uint64_t{text.size()});
    bytes_ += text;
  }
  void put(const std::string& text) { put(std::string_view(text)); }
  template <class T>
  void put(const std::vector<T>& values) {
    put(type_of<T>());
    put(uint64_t{values.size()});
    for (const T& v : values) put(v);
  }
  template <class T>
  static GgufType type_of() {
    if constexpr (std::is_same_v<T, uint32_t>)
      return GgufType::u32;
    else if constexpr (std::is_same_v<T, int32_t>)
      return GgufType::i32;
    else if constexpr (std::is_same_v<T, float>)
      return GgufType::f32;
    else if constexpr (std::is_same_v<T, bool>)
      return GgufType::boolean;
    else if constexpr (std::is_same_v<T, std::string>)
      return GgufType::string;
    else if constexpr (std::is_same_v<T, uint64_t>)
      return GgufType::u64;
    else if constexpr (std::is_same_v<T, int64_t>)
      return GgufType::i64;
    else if constexpr (std::is_same_v<T, double>)
      return GgufType::f64;
    else
      return GgufType::array;
  }

 private:
  std::string bytes_ = "GGUF";
};

void require_valid(const std::string& path, const GgufMetadata& metadata,
                   const std::vector<TensorInfo>& infos, uint64_t alignment) {
  require(alignment >= 8 && alignment <= (1 << 20) && (alignment & (alignment - 1)) == 0,
          "write GGUF: {}: alignment {}, expected a power of two from 8 to 1048576", path,
          alignment);
  require(infos.size() <= 65'536 && metadata.size() < 65'536,
          "write GGUF: {}: {} tensors and {} keys, expected at most 65536 each", path, infos.size(),
          metadata.size());
  std::set<std::string_view> keys{"general.alignment"};
  for (const auto& [key, value] : metadata) {
    require(!key.empty() && key.size() <= 65'535 && keys.insert(key).second,
            "write GGUF: {}: key \"{}\" is empty, too long, reserved or there twice", path,
            escaped(key));
  }
  std::set<std::string_view> names;
  for (const TensorInfo& info : infos) {
    validate_tensor(info, "write GGUF", path);
    require(info.name.size() <= 63, "write GGUF: {}: tensor name \"{}\" has over 63 bytes", path,
            escaped(info.name, 64));
    require(names.insert(info.name).second, "write GGUF: {}: tensor \"{}\" is there twice", path,
            escaped(info.name, 64));
    require(info.shape.size() <= 4 && std::ranges::find(info.shape, 0) == info.shape.end(),
            "write GGUF: {}: tensor \"{}\" needs at most 4 dims, none of them 0", path,
            escaped(info.name, 64));
    require(gguf_type_of(info.dtype).has_value(), "write GGUF: {}: tensor \"{}\": GGUF has no {}",
            path, escaped(info.name, 64), name_of(info.dtype));
  }
}

std::string make_head(const GgufMetadata& metadata, const std::vector<TensorInfo>& infos,
                      uint64_t alignment) {
  Head head;
  head.put(uint32_t{3});
  head.put(uint64_t{infos.size()});
  head.put(uint64_t{metadata.size()} + (alignment == 32 ? 0 : 1));
  const auto put_entry = [&](const std::string& key, const auto& value) {
    head.put(key);
    head.put(Head::type_of<std::decay_t<decltype(value)>>());
    head.put(value);
  };
  if (alignment != 32) put_entry("general.alignment", static_cast<uint32_t>(alignment));
  for (const auto& [key, value] : metadata)
    std::visit([&, &k = key](const auto& v) { put_entry(k, v); }, value);
  uint64_t offset = 0;
  for (const TensorInfo& info : infos) {
    head.put(info.name);
    head.put(static_cast<uint32_t>(info.shape.size()));
    for (auto d = info.shape.rbegin(); d != info.shape.rend(); ++d)
      head.put(static_cast<uint64_t>(*d));
    head.put(*gguf_type_of(info.dtype));
    head.put(offset);
    offset = *checked_round_up(offset + static_cast<uint64_t>(info.size_bytes()), alignment);
  }
  return head.bytes();
}

class GgufWriter : public TensorWriter {
 public:
  GgufWriter(const std::string& path, const std::string& head, std::vector<TensorInfo> infos,
             uint64_t alignment)
      : file_(path), infos_(std::move(infos)), alignment_(alignment) {
    file_.write(head);
    pad();
  }

  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      check(current_ < infos_.size(), "no more bytes are written than the tensors have");
      const auto size = static_cast<uint64_t>(infos_[current_].size_bytes());
      const auto part = bytes.first(std::min<uint64_t>(bytes.size(), size - done_));
      file_.write(part);
      bytes = bytes.subspan(part.size());
      done_ += part.size();
      if (done_ < size) continue;
      pad();
      done_ = 0;
      ++current_;
    }
  }

  void commit() override {
    check(current_ == infos_.size(), "all tensors are written before commit");
    file_.commit();
  }

 private:
  // Also behind the last tensor, as llama.cpp's own writer does.
  void pad() {
    const std::string zeros(*checked_round_up(file_.position(), alignment_) - file_.position(),
                            '\0');
    file_.write(zeros);
  }

  AtomicFile file_;
  std::vector<TensorInfo> infos_;
  uint64_t alignment_, done_ = 0;
  size_t current_ = 0;
};

}  // namespace

std::unique_ptr<TensorWriter> make_gguf_writer(const std::string& path,
                                               const GgufMetadata& metadata,
                                               std::vector<TensorInfo> infos, uint64_t alignment) {
  require_valid(path, metadata, infos, alignment);
  const std::string head = make_head(metadata, infos, alignment);
  return std::make_unique<GgufWriter>(path, head, std::move(infos), alignment);
}

}  // namespace cria
