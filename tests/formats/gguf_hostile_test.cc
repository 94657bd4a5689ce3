// Files that break GGUF's rules, one rule each, built from a small valid file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <sstream>

#include "base/bytes.h"
#include "base/error.h"
#include "formats/gguf.h"

namespace cria {
namespace {

using testing::HasSubstr;

// Pieces of a file; the default is valid and every case changes a few.
struct Parts {
  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t tensor_count = 2, entry_count = 3;
  std::string entries, heads;
  std::string data = std::string(32 + 8, 'x');  // one padded tensor of 8 bytes, one of 8
  uint64_t pad_to = 32;
};

template <class T>
std::string le(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}
std::string str(std::string_view s) { return le(uint64_t{s.size()}) + std::string(s); }
std::string entry(std::string_view key, uint32_t type, const std::string& value) {
  return str(key) + le(type) + value;
}
std::string array(uint32_t type, uint64_t count, const std::string& items) {
  return le(type) + le(count) + items;
}
std::string head(std::string_view name, const std::vector<uint64_t>& inner_first, uint32_t type,
                 uint64_t offset) {
  std::string out = str(name) + le(static_cast<uint32_t>(inner_first.size()));
  for (const uint64_t d : inner_first) out += le(d);
  return out + le(type) + le(offset);
}

constexpr uint32_t kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9;

const std::string kArchitecture = entry("general.architecture", kString, str("llama"));
const std::string kCount = entry("n", kU32, le(uint32_t{1}));
const std::string kList = entry("list", kArray, array(kI32, 2, std::string(8, '\0')));
const std::string kHeadA = head("a", {2}, 0, 0), kHeadB = head("b", {2, 1}, 0, 32);

std::string assemble(const Parts& p) {
  std::string out = p.magic + le(p.version) + le(p.tensor_count) + le(p.entry_count);
  out += p.entries.empty() ? kArchitecture + kCount + kList : p.entries;
  out += p.heads.empty() ? kHeadA + kHeadB : p.heads;
  out.resize((out.size() + p.pad_to - 1) / p.pad_to * p.pad_to);
  return out + p.data;
}

// Three entries, the last two given.
void set_entries(Parts& p, const std::string& one, const std::string& two = kCount) {
  p.entries = kArchitecture + two + one;
}
std::string tokens(uint64_t count) {
  std::string items;
  for (uint64_t i = 0; i < count; ++i) items += str("t");
  return entry("tokenizer.ggml.tokens", kArray, array(kString, count, items));
}

struct Case {
  const char* reason;
  std::function<void(Parts&)> change;
};

void expect_refused(const std::string& file, const std::string& reason) {
  try {
    const GgufReader r(raw_bytes(file), "some/hostile.gguf");
    ADD_FAILURE() << "was read, not refused for: " << reason;
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), HasSubstr(reason));
    EXPECT_THAT(e.what(), HasSubstr("some/hostile.gguf"));
  }
}

const std::vector<Case> kCases = {
    {"not a GGUF file", [](Parts& p) { p.magic = "GGML"; }},
    {"big-endian", [](Parts& p) { p.version = 0x03000000; }},
    {"unknown version", [](Parts& p) { p.version = 1; }},
    {"unknown version", [](Parts& p) { p.version = 4; }},
    {"more tensors than", [](Parts& p) { p.tensor_count = UINT64_MAX; }},
    {"more tensors than", [](Parts& p) { p.tensor_count = 65'537; }},
    {"more keys than", [](Parts& p) { p.entry_count = UINT64_MAX / 13; }},
    {"more keys than", [](Parts& p) { p.entry_count = 1000; }},
    {"empty key", [](Parts& p) { set_entries(p, entry("", kU32, le(1U))); }},
    {"string too long",
     [](Parts& p) { set_entries(p, entry(std::string(65'536, 'k'), kU32, le(1U))); }},
    {"key \"n\" appears twice", [](Parts& p) { set_entries(p, kCount); }},
    {"unknown value type", [](Parts& p) { set_entries(p, entry("k", 13, le(1U))); }},
    {"unknown value type",
     [](Parts& p) { set_entries(p, entry("k", kArray, array(99, 1, le(1U)))); }},
    {"array of arrays",
     [](Parts& p) { set_entries(p, entry("k", kArray, array(kArray, 1, array(kU32, 0, "")))); }},
    {"longer than the file",
     [](Parts& p) { set_entries(p, entry("k", kArray, array(kU32, UINT64_MAX / 4 + 1, ""))); }},
    {"longer than the file",
     [](Parts& p) { set_entries(p, entry("k", kArray, array(kString, 100, str("x")))); }},
    {"string too long",
     [](Parts& p) { set_entries(p, entry("k", kString, le(UINT64_MAX) + "x")); }},
    {"the file ends too early",
     [](Parts& p) { set_entries(p, entry("k", kString, le(uint64_t{5000}) + "x")); }},
    {"not a boolean", [](Parts& p) { set_entries(p, entry("k", kBool, "\2")); }},
    {"not a boolean",
     [](Parts& p) { set_entries(p, entry("k", kArray, array(kBool, 3, {"\0\1\377", 3}))); }},
    {"wrong type of \"general.alignment\"",
     [](Parts& p) { set_entries(p, entry("general.alignment", kI32, le(32))); }},
    {"bad general.alignment",
     [](Parts& p) { set_entries(p, entry("general.alignment", kU32, le(0U))); }},
    {"bad general.alignment",
     [](Parts& p) { set_entries(p, entry("general.alignment", kU32, le(48U))); }},
    {"bad general.alignment",
     [](Parts& p) { set_entries(p, entry("general.alignment", kU32, le(4U))); }},
    {"bad general.alignment",
     [](Parts& p) { set_entries(p, entry("general.alignment", kU32, le(1U << 31))); }},
    {"wrong type of \"general.architecture\"",
     [](Parts& p) { p.entries = entry("general.architecture", kU32, le(1U)) + kCount + kList; }},
    {"wrong type of \"tokenizer.ggml.tokens\"",
     [](Parts& p) { set_entries(p, entry("tokenizer.ggml.tokens", kString, str("x"))); }},
    {"\"tokenizer.ggml.scores\" does not fit",
     [](Parts& p) {
       set_entries(p, entry("tokenizer.ggml.scores", kArray, array(kF32, 1, le(1.0F))), tokens(2));
     }},
    {"\"tokenizer.ggml.token_type\" does not fit",
     [](Parts& p) {
       set_entries(p, entry("tokenizer.ggml.token_type", kArray, array(kI32, 1, le(1))), tokens(2));
     }},
    {"\"tokenizer.ggml.eos_token_id\" does not fit",
     [](Parts& p) {
       set_entries(p, entry("tokenizer.ggml.eos_token_id", kU32, le(2U)), tokens(2));
     }},
    {"wrong type of \"tokenizer.ggml.merges\"",
     [](Parts& p) {
       set_entries(p, entry("tokenizer.ggml.merges", kArray, array(kU32, 1, le(2U))), tokens(2));
     }},
    {"tensor without a name", [](Parts& p) { p.heads = kHeadA + head("", {2}, 0, 32); }},
    {"string too long",
     [](Parts& p) { p.heads = kHeadA + head(std::string(64, 'n'), {2}, 0, 32); }},
    {"control character", [](Parts& p) { p.heads = kHeadA + head("a\nb", {2}, 0, 32); }},
    {"not UTF-8", [](Parts& p) { p.heads = kHeadA + head("\xff", {2}, 0, 32); }},
    {"too many dims", [](Parts& p) { p.heads = kHeadA + head("b", {1, 1, 1, 1, 2}, 0, 32); }},
    {"bad dim", [](Parts& p) { p.heads = kHeadA + head("b", {0}, 0, 32); }},
    {"bad dim", [](Parts& p) { p.heads = kHeadA + head("b", {UINT64_MAX}, 0, 32); }},
    {"its size overflows",
     [](Parts& p) { p.heads = kHeadA + head("b", {1ULL << 40, 1ULL << 40}, 0, 32); }},
    {"type we cannot read", [](Parts& p) { p.heads = kHeadA + head("b", {2}, 10, 32); }},
    {"type we cannot read", [](Parts& p) { p.heads = kHeadA + head("b", {2}, 4, 32); }},
    {"type we cannot read", [](Parts& p) { p.heads = kHeadA + head("b", {2}, UINT32_MAX, 32); }},
    {"does not fill blocks", [](Parts& p) { p.heads = kHeadA + head("b", {16}, 2, 32); }},
    {"does not fill blocks", [](Parts& p) { p.heads = kHeadA + head("b", {}, 8, 32); }},
    {"out of place", [](Parts& p) { p.heads = kHeadA + head("b", {2}, 0, 8); }},
    {"out of place", [](Parts& p) { p.heads = kHeadA + head("b", {2}, 0, 64); }},
    {"out of place", [](Parts& p) { p.heads = kHeadA + head("b", {2}, 0, 0x7FFFFFFFFFFFFFC0); }},
    {"ends behind the end", [](Parts& p) { p.heads = kHeadA + head("b", {1ULL << 58}, 0, 32); }},
    {"ends behind the end", [](Parts& p) { p.data.pop_back(); }},
    {"bytes behind the last tensor", [](Parts& p) { p.data += std::string(32, '\0'); }},
};

class GgufHostile : public testing::TestWithParam<size_t> {};
TEST_P(GgufHostile, IsRefusedWithPathAndReason) {
  Parts parts;
  kCases[GetParam()].change(parts);
  expect_refused(assemble(parts), kCases[GetParam()].reason);
}
INSTANTIATE_TEST_SUITE_P(Cases, GgufHostile, testing::Range<size_t>(0, kCases.size()));

TEST(GgufHostileBase, TheUnchangedFileIsRead) {
  const std::string file = assemble({});
  const GgufReader r(raw_bytes(file), "good.gguf");
  EXPECT_EQ(r.tensors().size(), 2U);
  EXPECT_EQ(r.tensors()[1].shape, (std::vector<int64_t>{1, 2}));
}

TEST(GgufHostileBase, VersionTwoAndAShortTailAreRead) {
  Parts parts;
  parts.version = 2;
  parts.data += std::string(24, '\0');
  const std::string file = assemble(parts);
  EXPECT_NO_THROW(GgufReader(raw_bytes(file), "good.gguf"));
}

TEST(GgufHostileBase, TheSameTensorTwiceIsRefused) {
  Parts parts;
  parts.heads = kHeadA + head("a", {2}, 0, 32);
  const std::string file = assemble(parts);
  EXPECT_THROW(GgufReader(raw_bytes(file), "x.gguf"), FormatError);
}

TEST(GgufHostileBase, AFileCutAtAnyByteIsRefused) {
  const std::string file = assemble({});
  for (size_t cut = 0; cut < file.size(); ++cut)
    EXPECT_THROW(GgufReader(raw_bytes(file).first(cut), "cut.gguf"), FormatError) << cut;
}

TEST(GgufHostileBase, ThePeersFileCutAtAnyByteIsReadOrRefused) {
  std::ostringstream out;
  out << std::ifstream(CRIA_SOURCE_DIR "/tests/golden/gguf/all_types.gguf", std::ios::binary)
             .rdbuf();
  const std::string file = out.str();
  size_t read = 0;
  for (size_t cut = 0; cut < file.size(); cut += cut < 4000 ? 1 : 97) {
    try {
      const GgufReader r(raw_bytes(file).first(cut), "cut.gguf");
      ++read;
    } catch (const FormatError&) {
    }
  }
  EXPECT_LE(read, 1U);  // only the padding behind the last tensor may be missing
}

TEST(GgufHostileBase, AChangedByteOfTheHeadIsReadOrRefused) {
  const std::string file = assemble({});
  for (size_t at = 0; at < file.size(); ++at) {
    for (const int change : {1, 0x80, 0xff}) {
      std::string changed = file;
      changed[at] = static_cast<char>(changed[at] ^ change);
      try {
        const GgufReader r(raw_bytes(changed), "changed.gguf");
        for (size_t i = 0; i < r.tensors().size(); ++i)
          EXPECT_EQ(r.mapped(i).size(), static_cast<size_t>(r.tensors()[i].size_bytes()));
      } catch (const FormatError&) {
      }
    }
  }
}

}  // namespace
}  // namespace cria
