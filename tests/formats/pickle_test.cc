// The pickle interpreter on hand-made opcodes; whole files are in torch_test.cc.
#include "formats/pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/error.h"

namespace cria {
namespace {

using testing::HasSubstr;
using namespace std::string_literals;

const std::string kDict = "ccollections\nOrderedDict\n)R";
const std::string kRebuild = "ctorch._utils\n_rebuild_tensor_v2\n";

std::string text(std::string_view s) {
  const auto n = static_cast<uint32_t>(s.size());
  return "X" + std::string(reinterpret_cast<const char*>(&n), 4) + std::string(s);
}
std::string storage(std::string_view key = "0", const std::string& numel = "K\6",
                    const std::string& kind = "ctorch\nFloatStorage\n") {
  return "(" + text("storage") + kind + text(key) + text("cpu") + numel + "tQ";
}
// Arguments of a 2 x 3 tensor, each to be replaced.
struct Args {
  std::string storage_ = storage(), offset = "K\0"s, size = "(K\2K\3t", stride = "(K\3K\1t";
  std::string gradient = "\x89", hooks = kDict, more = {};
};
std::string tensor(const Args& a = {}) {
  return kRebuild + "(" + a.storage_ + a.offset + a.size + a.stride + a.gradient + a.hooks +
         a.more + "tR";
}
std::string parameter(const std::string& args) {
  return "ctorch._utils\n_rebuild_parameter\n(" + args + "tR";
}
std::string pickle(const std::string& value) { return "\x80\x02" + value + "."; }

TEST(Pickle, ReadsAStateDictWithoutMemo) {
  const std::string bytes = pickle("}" + text("w") + tensor() + "s");
  const Pickle p = parse_pickle(raw_bytes(bytes), "x.pth");
  ASSERT_EQ(p.tensors.size(), 1U);
  EXPECT_EQ(p.tensors[0].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(p.tensors[0].strides, (std::vector<int64_t>{3, 1}));
  ASSERT_EQ(p.storages.size(), 1U);
  EXPECT_EQ(p.storages[0].elements, 6U);
  EXPECT_EQ(p.storages[0].dtype, DType::f32);
}

class PickleNumbers : public testing::TestWithParam<std::pair<std::string, int64_t>> {};
TEST_P(PickleNumbers, AreReadWithTheirSign) {
  const std::string bytes = pickle(GetParam().first);
  const Pickle p = parse_pickle(raw_bytes(bytes), "x.pth");
  EXPECT_EQ(std::get<int64_t>(p.values[p.root]), GetParam().second);
}
INSTANTIATE_TEST_SUITE_P(All, PickleNumbers,
                         testing::Values(std::pair{"K\xff"s, 255}, std::pair{"M\xff\xff"s, 65'535},
                                         std::pair{"J\xff\xff\xff\xff"s, -1},
                                         std::pair{"\x8a\0"s, 0}, std::pair{"\x8a\1\x80"s, -128},
                                         std::pair{"\x8a\2\x80\0"s, 128},
                                         std::pair{"\x8a\5\0\0\0\0\1"s, int64_t{1} << 32},
                                         std::pair{"\x8a\10\0\0\0\0\0\0\0\x80"s, INT64_MIN}));

TEST(Pickle, FloatsAreBigEndianAndMemoReturnsWhatWasPut) {
  const std::string bytes = pickle("G\x3f\xf8\0\0\0\0\0\0q\1h\1\x86"s);
  const Pickle p = parse_pickle(raw_bytes(bytes), "x.pth");
  const auto& items = std::get<PickleTuple>(p.values[p.root]).items;
  ASSERT_EQ(items.size(), 2U);
  EXPECT_EQ(items[0], items[1]);
  EXPECT_EQ(std::get<double>(p.values[items[0]]), 1.5);
}

TEST(Pickle, AnEmptyTensorMayHaveAnyStride) {
  const std::string bytes = pickle(tensor({.size = "(K\0K\3t"s}));
  EXPECT_NO_THROW(parse_pickle(raw_bytes(bytes), "x.pth"));
}

struct Case {
  const char* reason;
  std::string bytes;
};

const std::vector<Case> kCases = {
    {"ends too early", ""},
    {"not protocol 2", "\x80\x03N."},
    {"not protocol 2", "N."},
    {"bytes behind its end", "\x80\x02N.N"},
    {"ends too early", "\x80\x02N"},
    {"one value", pickle("")},
    {"one value", pickle("NN")},
    {"one value", pickle("(N")},
    {"opcode that a state dict does not need", pickle("}0")},               // POP
    {"opcode that a state dict does not need", pickle("N2")},               // DUP
    {"opcode that a state dict does not need", pickle("(i__main__\nX\n")},  // INST
    {"opcode that a state dict does not need", pickle("(NNo")},             // OBJ
    {"opcode that a state dict does not need", pickle("Pid\n")},            // PERSID
    {"opcode that a state dict does not need", pickle("I1\n")},             // INT in text
    {"opcode that a state dict does not need", pickle("\x82\1")},           // EXT1
    {"opcode that a state dict does not need", pickle(")\x81")},            // NEWOBJ
    {"opcode that a state dict does not need", pickle("\x93")},             // STACK_GLOBAL
    {"opcode that a state dict does not need", pickle("\x8b\1\0\0\0\1"s)},  // LONG4
    {"opcode that a state dict does not need", pickle("\x8f")},             // EMPTY_SET
    {"it asks for os.system", pickle("cos\nsystem\n")},
    {"it asks for builtins.eval", pickle("cbuiltins\neval\n")},
    {"it asks for torch.load", pickle("ctorch\nload\n")},
    {"it asks for collections.OrderedDict ", pickle("ccollections\nOrderedDict \n")},
    {"it asks for \\x00\\xff.x", pickle("c\0\xff\nx\n"s)},
    {"ends within a name", pickle("ctorch\nload")},
    {"takes from an empty stack", pickle("R")},
    {"takes from an empty stack", pickle("\x85")},
    {"takes from an empty stack", pickle("N(\x85")},
    {"takes from an empty stack", pickle("]a")},
    {"takes from an empty stack", pickle("q\1")},
    {"no mark on the stack", pickle("Nt")},
    {"no mark on the stack", pickle("}u")},
    {"appends to what is no list", pickle("}Na")},
    {"appends to what is no list", pickle(")(Ne")},
    {"sets an item of what is no dict", pickle("]K\1Ns")},
    {"a dict's key without a value", pickle("}(K\1u")},
    {"neither text nor integer", pickle("}NNs")},
    {"neither text nor integer", pickle("})Ns")},
    {"memo that was never put", pickle("h\1")},
    {"memo that was never put", pickle("j\1\0\0\0"s)},
    {"memo index too high", pickle("Nr\1\0\0\1"s)},
    {"integer too long", pickle("\x8a\x09"s + std::string(9, '\1'))},
    {"text that is not UTF-8", pickle(text("\xff"))},
    {"byte string that is not ASCII", pickle("U\1\xff")},
    {"ends too early", "\x80\x02X\xff\xff\xff\xff."},
    {"calls what cannot be called", pickle("N)R")},
    {"calls what cannot be called", pickle("ctorch\nFloatStorage\n)R")},
    {"calls what cannot be called", pickle("ccollections\nOrderedDict\n]R")},
    {"arguments of OrderedDict", pickle("ccollections\nOrderedDict\n]\x85R")},
    {"arguments of Size", pickle("ctorch\nSize\n)R")},
    {"bad Size", pickle("ctorch\nSize\n]\x85R")},
    {"bad Size", pickle("ctorch\nSize\n(Nt\x85R")},
    {"sets attributes of what is no OrderedDict", pickle("}}b")},
    {"sets attributes of what is no OrderedDict", pickle(tensor() + "}b")},
    {"bad reference to a storage", pickle("NQ")},
    {"bad reference to a storage", pickle(")Q")},
    {"bad reference to a storage", pickle(storage("a"))},
    {"bad reference to a storage", pickle(storage(""))},
    {"bad reference to a storage", pickle(storage("123456789012345678901"))},
    {"bad reference to a storage", pickle(storage("../0"))},
    {"bad reference to a storage", pickle(storage("0", "J\xff\xff\xff\xff"))},
    {"bad reference to a storage", pickle(storage("0", "\x88"))},
    {"bad reference to a storage", pickle(storage("0", "K\1", "ctorch\nSize\n"))},
    {"described in two ways", pickle(storage() + storage("0", "K\7") + "\x86")},
    {"described in two ways",
     pickle(storage() + storage("0", "K\6", "ctorch\nIntStorage\n") + "\x86")},
    {"arguments of _rebuild_tensor_v2", pickle(kRebuild + ")R")},
    {"arguments of _rebuild_tensor_v2", pickle(tensor({.storage_ = "N"}))},
    {"arguments of _rebuild_tensor_v2", pickle(tensor({.offset = "J\xff\xff\xff\xff"}))},
    {"arguments of _rebuild_tensor_v2", pickle(tensor({.offset = "\x88"}))},
    {"arguments of _rebuild_tensor_v2", pickle(tensor({.gradient = "K\1"}))},
    {"arguments of _rebuild_tensor_v2", pickle(tensor({.hooks = "}"}))},
    {"arguments of _rebuild_tensor_v2", pickle(tensor({.hooks = kDict + "K\1Ns"}))},
    {"arguments of _rebuild_tensor_v2", pickle(tensor({.more = "K\1"}))},
    {"arguments of _rebuild_tensor_v2", pickle(tensor({.more = "NN"}))},
    {"bad size of a tensor", pickle(tensor({.size = "]"}))},
    {"bad size of a tensor", pickle(tensor({.size = "(J\xff\xff\xff\xffK\1t"}))},
    {"bad size of a tensor", pickle(tensor({.size = "(" + std::string(18, 'N') + "t"}))},
    {"bad stride of a tensor", pickle(tensor({.stride = "(NNt"}))},
    {"differ in length", pickle(tensor({.stride = "(K\1t"}))},
    {"reaches out of its storage", pickle(tensor({.offset = "K\1"}))},
    {"reaches out of its storage", pickle(tensor({.stride = "(K\4K\1t"}))},
    {"reaches out of its storage", pickle(tensor({.size = "(K\3K\3t"}))},
    {"found overflow", pickle(tensor({.size = "(K\4K\3t",
                                      .stride = "(\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7fK\1t"}))},
    {"arguments of _rebuild_parameter", pickle(parameter("N\x89" + kDict))},
    {"arguments of _rebuild_parameter", pickle(parameter(tensor() + "\x89"))},
    {"arguments of _rebuild_parameter", pickle(parameter(tensor() + "N" + kDict))},
    {"a value contains itself", pickle("]q\1h\1a")},
    {"a value contains itself", pickle("}q\1K\1]h\1as")},
    {"deeper than 64", pickle(")" + std::string(64, '\x85'))},
    {"more values than its length allows", pickle("(" + std::string(900'000, ']') + "t")},
};

class PickleHostile : public testing::TestWithParam<size_t> {};
TEST_P(PickleHostile, IsRefusedWithPathPlaceAndReason) {
  const Case& c = kCases[GetParam()];
  try {
    parse_pickle(raw_bytes(c.bytes), "some/hostile.pth", 1000);
    FAIL() << "was read, not refused for: " << c.reason;
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), HasSubstr(c.reason));
    EXPECT_THAT(e.what(), HasSubstr("some/hostile.pth at byte "));
  }
}
INSTANTIATE_TEST_SUITE_P(Cases, PickleHostile, testing::Range<size_t>(0, kCases.size()));

TEST(Pickle, CutAtAnyByteItIsRefused) {
  const std::string bytes = pickle("}" + text("w") + tensor() + "s");
  for (size_t cut = 0; cut < bytes.size(); ++cut)
    EXPECT_THROW(parse_pickle(raw_bytes(bytes).first(cut), "x.pth"), FormatError) << cut;
}

TEST(Pickle, ManySharedValuesAreWalkedOnce) {
  std::string value = ")";
  for (int i = 0; i < 60; ++i) value += "q\1h\1\x86";  // 2^60 paths to the bottom
  const std::string bytes = pickle(value);
  EXPECT_NO_THROW(parse_pickle(raw_bytes(bytes), "x.pth"));
}

}  // namespace
}  // namespace cria
