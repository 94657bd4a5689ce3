// The getters of GgufReader, the numbers of types, and what the vocabulary's arrays must satisfy.
#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "formats/gguf_cursor.h"

namespace cria {
namespace {

struct ValueType {
  std::string_view name;
  uint64_t size;
};
constexpr std::array<ValueType, 13> kValueTypes = {{{"u8", 1},
                                                    {"i8", 1},
                                                    {"u16", 2},
                                                    {"i16", 2},
                                                    {"u32", 4},
                                                    {"i32", 4},
                                                    {"f32", 4},
                                                    {"bool", 1},
                                                    {"string", 8},
                                                    {"array", 12},
                                                    {"u64", 8},
                                                    {"i64", 8},
                                                    {"f64", 8}}};

struct TensorType {
  uint32_t number;
  DType dtype;
};
constexpr std::array kTensorTypes = {
    TensorType{0, DType::f32},   TensorType{1, DType::f16},   TensorType{2, DType::q4_0},
    TensorType{3, DType::q4_1},  TensorType{6, DType::q5_0},  TensorType{7, DType::q5_1},
    TensorType{8, DType::q8_0},  TensorType{12, DType::q4_k}, TensorType{13, DType::q5_k},
    TensorType{14, DType::q6_k}, TensorType{24, DType::i8},   TensorType{25, DType::i16},
    TensorType{26, DType::i32},  TensorType{27, DType::i64},  TensorType{28, DType::f64},
    TensorType{30, DType::bf16},
};

int64_t load_int(const GgufEntry& e, uint64_t i) {
  switch (e.type) {
    case GgufType::u8:
      return load_le<uint8_t>(e.bytes, i * sizeof(uint8_t));
    case GgufType::i8:
      return load_le<int8_t>(e.bytes, i * sizeof(int8_t));
    case GgufType::u16:
      return load_le<uint16_t>(e.bytes, i * sizeof(uint16_t));
    case GgufType::i16:
      return load_le<int16_t>(e.bytes, i * sizeof(int16_t));
    case GgufType::u32:
      return load_le<uint32_t>(e.bytes, i * sizeof(uint32_t));
    case GgufType::i32:
      return load_le<int32_t>(e.bytes, i * sizeof(int32_t));
    default:
      return load_le<int64_t>(e.bytes, i * sizeof(int64_t));
  }
}

}  // namespace

std::string_view name_of(GgufType type) { return kValueTypes.at(static_cast<size_t>(type)).name; }
uint64_t gguf_size_of(GgufType type) { return kValueTypes.at(static_cast<size_t>(type)).size; }

std::optional<DType> gguf_dtype(uint32_t type) {
  for (const TensorType& t : kTensorTypes) {
    if (t.number == type) return t.dtype;
  }
  return std::nullopt;
}

std::optional<uint32_t> gguf_type_of(DType dtype) {
  for (const TensorType& t : kTensorTypes) {
    if (t.dtype == dtype) return t.number;
  }
  return std::nullopt;
}

const GgufEntry* GgufReader::entry(std::string_view key) const {
  const auto it = keys_.find(key);
  return it == keys_.end() ? nullptr : &entries_[it->second];
}

const GgufEntry* GgufReader::typed(std::string_view key, bool array,
                                   std::initializer_list<GgufType> types) const {
  const GgufEntry* e = entry(key);
  if (e == nullptr) return nullptr;
  if (e->is_array == array && std::ranges::find(types, e->type) != types.end()) return e;
  std::string expected;
  for (const GgufType type : types)
    expected += fmt::format("{}{}", expected.empty() ? "" : " or ", name_of(type));
  throw FormatError(
      describe({.what = "read GGUF",
                .path = path_,
                .offset = e->bytes.data() - bytes_.data(),
                .reason = fmt::format("wrong type of \"{}\"", escaped(key)),
                .expected = (array ? "array of " : "") + expected,
                .found = fmt::format("{}{}", e->is_array ? "array of " : "", name_of(e->type))}));
}

std::optional<uint64_t> GgufReader::uint(std::string_view key) const {
  const GgufEntry* e =
      typed(key, false, {GgufType::u32, GgufType::u64, GgufType::u16, GgufType::u8});
  if (e == nullptr) return std::nullopt;
  return e->type == GgufType::u64 ? load_le<uint64_t>(e->bytes, 0)
                                  : static_cast<uint64_t>(load_int(*e, 0));
}

std::optional<double> GgufReader::number(std::string_view key) const {
  const GgufEntry* e = typed(key, false, {GgufType::f32, GgufType::f64});
  if (e == nullptr) return std::nullopt;
  return e->type == GgufType::f32 ? static_cast<double>(load_le<float>(e->bytes, 0))
                                  : load_le<double>(e->bytes, 0);
}

std::optional<bool> GgufReader::flag(std::string_view key) const {
  const GgufEntry* e = typed(key, false, {GgufType::boolean});
  if (e == nullptr) return std::nullopt;
  return e->bytes[0] != std::byte{0};
}

std::optional<std::string_view> GgufReader::text(std::string_view key) const {
  const GgufEntry* e = typed(key, false, {GgufType::string});
  if (e == nullptr) return std::nullopt;
  return GgufCursor(e->bytes, path_).string(e->bytes.size());
}

bool GgufReader::has_vocabulary() const {
  const auto model = text("tokenizer.ggml.model");
  return model && *model != "none" && *model != "no_vocab";
}

std::optional<std::vector<std::string_view>> GgufReader::strings(std::string_view key) const {
  const GgufEntry* e = typed(key, true, {GgufType::string});
  if (e == nullptr) return std::nullopt;
  std::vector<std::string_view> out(e->count);
  GgufCursor in(e->bytes, path_);
  for (std::string_view& s : out) s = in.string(e->bytes.size());
  return out;
}

std::optional<std::vector<float>> GgufReader::floats(std::string_view key) const {
  const GgufEntry* e = typed(key, true, {GgufType::f32, GgufType::f64});
  if (e == nullptr) return std::nullopt;
  std::vector<float> out(e->count);
  for (uint64_t i = 0; i < e->count; ++i)
    out[i] = e->type == GgufType::f32
                 ? load_le<float>(e->bytes, i * sizeof(float))
                 : static_cast<float>(load_le<double>(e->bytes, i * sizeof(double)));
  return out;
}

std::optional<std::vector<int64_t>> GgufReader::ints(std::string_view key) const {
  const GgufEntry* e = typed(key, true,
                             {GgufType::i32, GgufType::u32, GgufType::i64, GgufType::u8,
                              GgufType::i8, GgufType::u16, GgufType::i16});
  if (e == nullptr) return std::nullopt;
  std::vector<int64_t> out(e->count);
  for (uint64_t i = 0; i < e->count; ++i) out[i] = load_int(*e, i);
  return out;
}

void GgufReader::check_known_keys() const {
  for (const char* key : {"general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.pre",
                          "tokenizer.chat_template"}) {
    (void)typed(key, false, {GgufType::string});
  }
  (void)typed("tokenizer.ggml.merges", true, {GgufType::string});
  const GgufEntry* tokens = typed("tokenizer.ggml.tokens", true, {GgufType::string});
  if (tokens == nullptr) return;
  const auto fail = [&](const GgufEntry& e, std::string expected, uint64_t found) {
    throw FormatError(
        describe({.what = "read GGUF",
                  .path = path_,
                  .offset = e.bytes.data() - bytes_.data(),
                  .reason = fmt::format("\"{}\" does not fit the vocabulary", escaped(e.key, 64)),
                  .expected = std::move(expected),
                  .found = std::to_string(found)}));
  };
  const auto same_length = [&](const GgufEntry* e) {
    if (e != nullptr && e->count != tokens->count)
      fail(*e, fmt::format("{} elements, one for each token", tokens->count), e->count);
  };
  same_length(typed("tokenizer.ggml.scores", true, {GgufType::f32}));
  same_length(typed("tokenizer.ggml.token_type", true, {GgufType::i32, GgufType::u32}));
  for (const GgufEntry& e : entries_) {
    if (!e.key.starts_with("tokenizer.ggml.") || !e.key.ends_with("_token_id")) continue;
    const uint64_t id = *uint(e.key);
    if (id >= tokens->count) fail(e, fmt::format("an id below {}", tokens->count), id);
  }
}

}  // namespace cria
