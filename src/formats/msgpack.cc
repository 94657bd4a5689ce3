#include "formats/msgpack.h"

#include <limits>

#include "base/bytes.h"

namespace cria {
namespace {

void put(std::vector<std::byte>& out, unsigned code) {
  out.push_back(static_cast<std::byte>(code));
}

// Reads one item after another. Containers yield their header only: `children` items follow.
class Items {
 public:
  explicit Items(std::span<const std::byte> bytes) : bytes_(bytes) {}

  struct Item {
    MsgpackValue value;
    uint64_t children = 0;
    bool is_map = false;
  };

  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] bool at_end() const { return at_ == bytes_.size(); }
  [[nodiscard]] size_t left() const { return bytes_.size() - at_; }

  Item next() {
    const auto code = number<uint8_t>();
    if (code < 0x80) return {.value = static_cast<int64_t>(code)};
    if (code < 0x90) return map(code & 0x0fU);
    if (code < 0xa0) return array(code & 0x0fU);
    if (code < 0xc0) return text(code & 0x1fU);
    if (code >= 0xe0) return {.value = static_cast<int64_t>(static_cast<int8_t>(code))};
    return coded(code);
  }

 private:
  template <class T>
  T number() {
    if (failed_ || left() < sizeof(T)) {
      failed_ = true;
      return T{};
    }
    at_ += sizeof(T);
    return load_be<T>(bytes_, at_ - sizeof(T));
  }
  template <class T>
  Item integer() {
    return {.value = static_cast<int64_t>(number<T>())};
  }
  Item text(uint64_t size) { return skip_bytes(size) ? Item{last_text_} : Item{}; }
  Item opaque(uint64_t size) {
    skip_bytes(size);
    return {};
  }
  static Item array(uint64_t count) { return {.children = count}; }
  static Item map(uint64_t count) { return {.children = 2 * count, .is_map = true}; }
  bool skip_bytes(uint64_t size) {
    if (failed_ || size > left()) {
      failed_ = true;
      return false;
    }
    last_text_ = text_of(bytes_.subspan(at_, size));
    at_ += size;
    return true;
  }
  Item unsigned64() {
    const auto v = number<uint64_t>();
    if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return {};
    return {.value = static_cast<int64_t>(v)};
  }

  Item coded(uint8_t code) {
    switch (code) {
      case 0xc0:
        return {};
      case 0xc2:
        return {.value = false};
      case 0xc3:
        return {.value = true};
      case 0xc4:
        return opaque(number<uint8_t>());
      case 0xc5:
        return opaque(number<uint16_t>());
      case 0xc6:
        return opaque(number<uint32_t>());
      case 0xc7:
        return opaque(uint64_t{number<uint8_t>()} + 1);
      case 0xc8:
        return opaque(uint64_t{number<uint16_t>()} + 1);
      case 0xc9:
        return opaque(uint64_t{number<uint32_t>()} + 1);
      case 0xca:
        return {.value = static_cast<double>(number<float>())};
      case 0xcb:
        return {.value = number<double>()};
      case 0xcc:
        return integer<uint8_t>();
      case 0xcd:
        return integer<uint16_t>();
      case 0xce:
        return integer<uint32_t>();
      case 0xcf:
        return unsigned64();
      case 0xd0:
        return integer<int8_t>();
      case 0xd1:
        return integer<int16_t>();
      case 0xd2:
        return integer<int32_t>();
      case 0xd3:
        return integer<int64_t>();
      case 0xd4:
        return opaque(2);
      case 0xd5:
        return opaque(3);
      case 0xd6:
        return opaque(5);
      case 0xd7:
        return opaque(9);
      case 0xd8:
        return opaque(17);
      case 0xd9:
        return text(number<uint8_t>());
      case 0xda:
        return text(number<uint16_t>());
      case 0xdb:
        return text(number<uint32_t>());
      case 0xdc:
        return array(number<uint16_t>());
      case 0xdd:
        return array(number<uint32_t>());
      case 0xde:
        return map(number<uint16_t>());
      case 0xdf:
        return map(number<uint32_t>());
      default:
        failed_ = true;
        return {};  // 0xc1 is never used
    }
  }

  std::span<const std::byte> bytes_;
  size_t at_ = 0;
  bool failed_ = false;
  std::string_view last_text_;
};

}  // namespace

void append_map_header(std::vector<std::byte>& out, uint32_t entries) {
  if (entries < 16) {
    put(out, 0x80 | entries);
  } else if (entries <= 0xffff) {
    put(out, 0xde);
    append_be(out, static_cast<uint16_t>(entries));
  } else {
    put(out, 0xdf);
    append_be(out, entries);
  }
}

void append_msgpack(std::vector<std::byte>& out, std::string_view text) {
  if (text.size() < 32) {
    put(out, 0xa0 | static_cast<unsigned>(text.size()));
  } else if (text.size() <= 0xff) {
    put(out, 0xd9);
    append_be(out, static_cast<uint8_t>(text.size()));
  } else if (text.size() <= 0xffff) {
    put(out, 0xda);
    append_be(out, static_cast<uint16_t>(text.size()));
  } else {
    put(out, 0xdb);
    append_be(out, static_cast<uint32_t>(text.size()));
  }
  append_bytes(out, raw_bytes(text));
}

void append_msgpack(std::vector<std::byte>& out, int64_t v) {
  const auto coded = [&](unsigned code, auto value) {
    put(out, code);
    append_be(out, value);
  };
  if (v >= -32 && v < 128) return put(out, static_cast<uint8_t>(v));
  if (v >= 0) {
    if (v <= UINT8_MAX) return coded(0xcc, static_cast<uint8_t>(v));
    if (v <= UINT16_MAX) return coded(0xcd, static_cast<uint16_t>(v));
    if (v <= UINT32_MAX) return coded(0xce, static_cast<uint32_t>(v));
    return coded(0xcf, static_cast<uint64_t>(v));
  }
  if (v >= INT8_MIN) return coded(0xd0, static_cast<int8_t>(v));
  if (v >= INT16_MIN) return coded(0xd1, static_cast<int16_t>(v));
  if (v >= INT32_MIN) return coded(0xd2, static_cast<int32_t>(v));
  coded(0xd3, v);
}

void append_msgpack(std::vector<std::byte>& out, double v) {
  const auto narrow = static_cast<float>(v);
  if (static_cast<double>(narrow) == v) {
    put(out, 0xca);
    append_be(out, narrow);
  } else {
    put(out, 0xcb);
    append_be(out, v);
  }
}

bool read_msgpack_map(std::span<const std::byte> bytes,
                      const std::function<void(std::string_view, const MsgpackValue&)>& entry) {
  Items items(bytes);
  const auto top = items.next();
  if (items.failed() || !top.is_map) return false;
  for (uint64_t i = 0; i < top.children; i += 2) {
    const auto key = items.next();
    const auto* text = std::get_if<std::string_view>(&key.value);
    if (items.failed() || text == nullptr) return false;
    const auto value = items.next();
    for (uint64_t pending = value.children; pending > 0 && !items.failed(); --pending) {
      pending += items.next().children;
      if (pending > items.left() + 1) return false;  // each needs at least a byte
    }
    if (items.failed()) return false;
    entry(*text, value.value);
  }
  return items.at_end();
}

}  // namespace cria
