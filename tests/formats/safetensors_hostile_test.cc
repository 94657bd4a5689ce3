// Safetensors files that must be refused, each with its reason.
#include "base/bytes.h"
#include "formats/safetensors.h"
#include "formats/tensor_files.h"

namespace cria::test {
namespace {

std::string with_length(uint64_t length, std::string_view rest) {
  std::string out(8, 0);
  std::memcpy(out.data(), &length, 8);
  return out.append(rest);
}
std::string file(std::string_view header, std::string_view data = "") {
  return with_length(header.size(), std::string(header) + std::string(data));
}
// A file of one tensor "a" with the given members.
std::string one(std::string_view dtype, std::string_view shape, std::string_view offsets,
                std::string_view data = "12345678") {
  return file(
      fmt::format(R"({{"a":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", dtype, shape, offsets),
      data);
}
std::string two(std::string_view a, std::string_view b, std::string_view data) {
  return file(fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},)"
                          R"("b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
                          a, b),
              data);
}

struct Case {
  const char* claim;
  std::string bytes, message;
};

std::vector<Case> cases() {
  const std::string u8 = R"("U8")";
  return {
      {"an empty file", "", "too short"},
      {"seven bytes", std::string(7, 0), "too short"},
      {"a header beyond the end", with_length(9, "{}"), "ends inside its header"},
      {"a header over 100 MB", with_length(100'000'001, "{}"), "header is too large"},
      {"a header length of 2^64-1", with_length(UINT64_MAX, "{}"), "header is too large"},
      {"a header length near 2^63", with_length(0x7fffffffffffffc0, "{}"), "header is too large"},
      {"no header", with_length(0, ""), "not valid JSON"},
      {"a list", file("[]"), "no object"},
      {"two values", file("{}{}"), "not valid JSON"},
      {"a NUL after the header", file(std::string("{}\0", 3)), "not valid JSON"},
      {"bad UTF-8", file("{\"\xff\":1}"), "UTF-8"},
      {"a name twice",
       file(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
            R"("a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"),
       "twice"},
      {"nesting", file(std::string(70, '[') + std::string(70, ']')), "nested"},
      {"metadata that is no object", file(R"({"__metadata__":[]})"), "__metadata__"},
      {"metadata with a number", file(R"({"__metadata__":{"k":1}})"), "has no text"},
      {"an entry that is a number", file(R"({"a":1})"), "bad entry"},
      {"an entry without shape", file(R"({"a":{"dtype":"U8","data_offsets":[0,0]}})"), "bad entry"},
      {"an entry with more", file(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}})"),
       "bad entry"},
      {"an unknown type", one(R"("F12")", "[8]", "[0,8]"), "unknown dtype"},
      {"a block type", one(R"("Q8_0")", "[32]", "[0,34]"), "unknown dtype"},
      {"a type that is a number", one("8", "[8]", "[0,8]"), "unknown dtype"},
      {"a shape that is a number", one(u8, "8", "[0,8]"), "bad shape"},
      {"a dim as float", one(u8, "[8.0]", "[0,8]"), "bad dim"},
      {"a dim with exponent", one(u8, "[8e0]", "[0,8]"), "bad dim"},
      {"a negative dim", one(u8, "[-8]", "[0,8]"), "bad dim"},
      {"a dim of minus zero", one(u8, "[-0]", "[0,0]", ""), "bad dim"},
      {"a dim of 2^63", one(u8, "[9223372036854775808]", "[0,8]"), "bad dim"},
      {"a dim beyond 64 bits", one(u8, "[99999999999999999999]", "[0,8]"), "out of range"},
      {"a product that overflows", one(u8, "[4294967296,4294967296]", "[0,8]"), "overflow"},
      {"nine dims", one(u8, "[1,1,1,1,1,1,1,1,8]", "[0,8]"), "too many dims"},
      {"one offset", one(u8, "[8]", "[0]"), "bad data_offsets"},
      {"offsets in reverse", one(u8, "[8]", "[8,0]"), "do not fit its shape"},
      {"offsets too near", one(u8, "[8]", "[0,7]"), "do not fit its shape"},
      {"offsets as floats", one(u8, "[8]", "[0.0,8.0]"), "bad data offset"},
      {"offsets near 2^63", one(u8, "[8]", "[9223372036854775800,9223372036854775808]"),
       "bad data offset"},
      {"a first tensor that begins late", one(u8, "[4]", "[4,8]"), "leaves a hole"},
      {"a tensor beyond the end", one(u8, "[16]", "[0,16]"), "file ends inside tensor"},
      {"a tail", one(u8, "[4]", "[0,4]"), "bytes after the last tensor"},
      {"overlapping tensors", two("[0,4]", "[3,7]", "1234567"), "overlaps"},
      {"equal ranges", two("[0,4]", "[0,4]", "1234"), "overlaps"},
      {"a hole", two("[0,4]", "[5,9]", "123456789"), "leaves a hole"},
      {"an empty name", file(R"({"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"), "name"},
      {"a control character",
       file(R"({"a\u0001":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"), "control character"},
      {"a name of 513 bytes",
       file(fmt::format(R"({{"{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}}})",
                        std::string(513, 'a'))),
       "name"},
  };
}

TEST(SafetensorsHostile, each_bad_file_is_refused_with_its_path_and_reason) {
  const std::string path = "folder/model.safetensors";
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.claim);
    const std::string message = format_error([&] { parse_safetensors(as_span(c.bytes), path); });
    EXPECT_THAT(message, testing::HasSubstr(path));
    EXPECT_THAT(message, testing::HasSubstr(c.message));
    EXPECT_LT(message.size(), 480U);
  }
}

TEST(SafetensorsHostile, unusual_but_valid_files_are_read) {
  const auto parse = [](const std::string& bytes) {
    return parse_safetensors(as_span(bytes), "m");
  };
  EXPECT_TRUE(parse(file("{}")).tensors.empty());
  EXPECT_TRUE(parse(file(" \t\n{} \n")).tensors.empty());
  EXPECT_EQ(parse(file(R"({"__metadata__":{"k":"v"}})")).metadata.at("k"), "v");
  EXPECT_EQ(parse(one(R"("F64")", "[]", "[0,8]")).tensors[0].shape.size(), 0U);
  EXPECT_EQ(parse(one(R"("F64")", "[3,0]", "[0,0]", "")).tensors[0].elements(), 0);
  EXPECT_EQ(parse(two("[4,8]", "[0,4]", "12345678")).tensors[0].name, "b");
}

TEST(SafetensorsHostile, a_file_cut_at_any_byte_or_with_any_byte_changed_loads_or_is_refused) {
  const std::string good = two("[0,4]", "[4,8]", "12345678");
  for (size_t size = 0; size < good.size(); ++size)
    format_error([&] { parse_safetensors(as_span(good.substr(0, size)), "m"); });
  format_error([&] { parse_safetensors(as_span(good + "9"), "m"); });
  std::mt19937 random(3);
  for (size_t at = 0; at < good.size(); ++at) {
    for (int trial = 0; trial < 20; ++trial) {
      std::string bad = good;
      bad[at] = static_cast<char>(random());
      try {
        parse_safetensors(as_span(bad), "m");
      } catch (const FormatError&) {
      }
    }
  }
}

}  // namespace
}  // namespace cria::test
