// MindSpore checkpoints that must be refused, each with its reason.
#include "base/bytes.h"
#include "formats/mindspore_ckpt.h"
#include "formats/tensor_files.h"
#include "formats/wire.h"

namespace cria::test {
namespace {

using namespace std::string_literals;

std::string varint(uint64_t value) {
  std::vector<std::byte> out;
  append_varint(out, value);
  return std::string(text_of(out));
}
std::string field(uint32_t number, std::string_view content) {
  std::vector<std::byte> out;
  append_text_field(out, number, content);
  return std::string(text_of(out));
}
std::string dims(std::initializer_list<uint64_t> all) {
  std::string out;
  for (const uint64_t d : all) out += "\x08" + varint(d);
  return out;
}
std::string tensor(const std::string& shape, std::string_view type, std::string_view content) {
  return field(2, shape + field(2, type) + field(3, content));
}
std::string entry(std::string_view name, const std::string& rest) {
  return field(1, field(1, name) + rest);
}
// A whole entry of four bytes.
std::string four(std::string_view name) { return entry(name, tensor(dims({4}), "Int8", "abcd")); }

struct Case {
  const char* claim;
  std::string bytes, message;
};

std::vector<Case> wire_cases() {
  const std::string byte_tensor = tensor(dims({4}), "Int8", "abcd");
  return {
      {"text", "hello, world", "no MindSpore checkpoint"},
      {"another top-level field", field(2, "x"), "no MindSpore checkpoint"},
      {"a number at the top", "\x08\x01", "no MindSpore checkpoint"},
      {"a field number of 0", "\x02\x01x", "bad field tag"},
      {"a group", "\x0b\x0c", "unknown wire type"},
      {"wire type 7", "\x0f", "unknown wire type"},
      {"a tag that never ends", std::string(11, '\xff'), "number"},
      {"a tag beyond 32 bits", "\xfa\xff\xff\xff\xff\x01\x01", "bad field tag"},
      {"a length of 2^64", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "beyond 64 bits"},
      {"a length of 2^63", "\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "does not fit"},
      {"a length of 2^31", "\x0a\x80\x80\x80\x80\x08", "does not fit"},
      {"a length over the end",
       "\x0a\x05"
       "abcd",
       "does not fit"},
      {"a length written too long", "\x0a\x81\x00x"s, "longer than needed"},
      {"a tag alone", "\x0a", "ends inside a number"},
      {"an empty entry", "\x0a\x00"s, "without name or tensor"},
      {"no tensor", field(1, field(1, "a")), "without name or tensor"},
      {"no name", field(1, byte_tensor), "without name or tensor"},
      {"two names", field(1, field(1, "a") + field(1, "b") + byte_tensor), "twice"},
      {"two tensors", field(1, field(1, "a") + byte_tensor + byte_tensor), "twice"},
      {"a number as name", field(1, "\x08\x01" + byte_tensor), "wrong type"},
      {"a number as tensor", field(1, field(1, "a") + "\x10\x01"), "wrong type"},
      {"a hash table", field(1, field(1, "a") + field(3, "")), "hash table"},
      {"a cut fixed number",
       field(1, field(1, "a") + "\x29"
                                "1234"),
       "ends inside a number"},
  };
}

std::vector<Case> tensor_cases() {
  const std::string a = four("a");
  return {
      {"no type", entry("a", field(2, dims({4}) + field(3, "abcd"))), "without type or content"},
      {"no content", entry("a", field(2, dims({4}) + field(2, "Int8"))), "without type or content"},
      {"two contents", entry("a", field(2, field(2, "Int8") + field(3, "a") + field(3, "b"))),
       "twice"},
      {"a number as type", entry("a", field(2, "\x10\x01" + field(3, "a"))), "wrong type"},
      {"an unknown type", entry("a", tensor(dims({4}), "Int3", "abcd")), "unknown type"},
      {"4-bit numbers", entry("a", tensor(dims({4}), "Int4", "ab")), "unknown type"},
      {"a type that is not UTF-8", entry("a", tensor(dims({4}), "\xff", "abcd")), "UTF-8"},
      {"a name that is not UTF-8", entry("\xff", tensor(dims({4}), "Int8", "abcd")), "UTF-8"},
      {"a name with a line break", four("a\nb"), "control character"},
      {"an empty name", four(""), "name"},
      {"a name of 513 bytes", four(std::string(513, 'n')), "name"},
      {"a negative dim", entry("a", tensor(dims({UINT64_MAX}), "Int8", "abcd")), "bad dims"},
      {"nine dims", entry("a", tensor(dims({1, 1, 1, 1, 1, 1, 1, 1, 4}), "Int8", "abcd")),
       "bad dims"},
      {"dims as 64-bit words",
       entry("a", field(2,
                        "\x09"
                        "12345678" +
                            field(2, "Int8"))),
       "wrong type"},
      {"packed dims cut short", entry("a", field(2, field(1, "\x80") + field(2, "Int8"))),
       "ends inside a number"},
      {"a product that overflows",
       entry("a", tensor(dims({uint64_t{1} << 40, uint64_t{1} << 40}), "Int8", "abcd")),
       "overflows"},
      {"too little content", entry("a", tensor(dims({5}), "Int8", "abcd")), "bad size"},
      {"too much content", entry("a", tensor(dims({3}), "Int8", "abcd")), "bad size"},
      {"half an element", entry("a", tensor("", "Int64", "abcd")), "bad size"},
      {"a scalar without content", entry("a", tensor("", "Int8", "")), "bad size"},
      {"pieces of different dims", a + entry("a", tensor(dims({2, 2}), "Int8", "abcd")),
       "other dims or type"},
      {"pieces of different types", a + entry("a", tensor(dims({4}), "UInt8", "abcd")),
       "other dims or type"},
      {"a piece too many", a + a, "bad size"},
      {"a name that returns", a + four("b") + a, "appears twice"},
      {"a text's name that returns",
       entry("a", tensor(dims({0}), "str", "")) + entry("a", tensor(dims({0}), "str", "")),
       "appears twice"},
      {"a text of odd size", entry("a", tensor(dims({0}), "str", "abc")), "multiple of 4"},
      {"a text with a surrogate", entry("a", tensor(dims({0}), "str", "\0\xd8\0\0"s)),
       "no character"},
      {"a text beyond Unicode", entry("a", tensor(dims({0}), "str", "\0\0\x11\0"s)),
       "no character"},
      {"a wrong checksum", a + "crc_num" + std::string(10, 0), "checksum"},
      {"a checksum beyond 32 bits", a + "crc_num" + std::string(10, 1), "checksum"},
      {"AES-GCM encryption", "\xd8\x5e\x3a\x7f" + std::string(40, 0), "encrypted"},
      {"SM4 encryption", "\xda\x5e\x3a\x7f" + std::string(40, 0), "encrypted"},
  };
}

TEST(MindsporeCkptHostile, each_bad_file_is_refused_with_its_path_and_reason) {
  const std::string path = "folder/model.ckpt";
  for (const auto& cases : {wire_cases(), tensor_cases()}) {
    for (const Case& c : cases) {
      SCOPED_TRACE(c.claim);
      const std::string message =
          format_error([&] { parse_mindspore_ckpt(as_span(c.bytes), path); });
      EXPECT_THAT(message, testing::HasSubstr(path));
      EXPECT_THAT(message, testing::HasSubstr(c.message));
      EXPECT_LT(message.size(), 480U);
    }
  }
}

TEST(MindsporeCkptHostile, unusual_but_valid_files_are_read) {
  const auto parse = [](const std::string& bytes) {
    return parse_mindspore_ckpt(as_span(bytes), "m");
  };
  const auto shape = [&](const std::string& t) { return parse(entry("a", t)).tensors[0].shape; };
  using Shape = std::vector<int64_t>;
  EXPECT_TRUE(parse("").tensors.empty());
  EXPECT_EQ(shape(tensor(dims({0}), "Int8", "x")), Shape{});
  EXPECT_EQ(shape(tensor(dims({0}), "Int8", "")), Shape{0});
  EXPECT_EQ(shape(tensor(field(1, "\x02\x03"), "Int8", "abcdef")), (Shape{2, 3}));
  EXPECT_EQ(shape(field(2, field(3, "ab") + field(2, "Int16") + dims({1}))), Shape{1});
  EXPECT_EQ(shape(field(2,
                        "\x25"
                        "1234\x29"
                        "12345678" +
                            field(9, "new") + field(2, "Int8") + field(3, "x"))),
            Shape{});
  // Pieces of the releases before 2.7: nearly equal.
  const auto pieces = parse(entry("a", tensor(dims({5}), "Int8", "abc")) +
                            entry("a", tensor(dims({5}), "Int8", "de")) + four("b"));
  EXPECT_EQ(pieces.pieces[0].size(), 2U);
  EXPECT_EQ(pieces.tensors.size(), 2U);
}

TEST(MindsporeCkptHostile, a_file_cut_at_any_byte_or_with_any_byte_changed_loads_or_is_refused) {
  const std::string good = four("a") + entry("t", tensor(dims({0}), "str", "x\0\0\0"s)) +
                           entry("s", tensor("", "Float32", "1234"));
  std::mt19937 random(3);
  for (size_t at = 0; at < good.size(); ++at) {
    for (int trial = 0; trial < 20; ++trial) {
      std::string bad = trial == 0 ? good.substr(0, at) : good;
      if (trial > 0) bad[at] = static_cast<char>(random());
      try {
        const auto layout = parse_mindspore_ckpt(as_span(bad), "m");
        EXPECT_LE(layout.tensors.size(), 2U);
      } catch (const FormatError&) {
      }
    }
  }
}

}  // namespace
}  // namespace cria::test
