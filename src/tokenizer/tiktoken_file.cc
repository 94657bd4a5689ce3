#include <array>

#include "base/error.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/vocabulary_files.h"

namespace cria {
namespace {

constexpr size_t kMaxFile = 16 << 20;
constexpr size_t kSpecials = 256;

constexpr auto kBase64 = [] {
  std::array<int, 256> values{};
  values.fill(-1);
  const std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < digits.size(); ++i)
    values[static_cast<unsigned char>(digits[i])] = static_cast<int>(i);
  return values;
}();

// Strict: padding to a multiple of four, no stray bits behind the last byte.
bool decode_base64(std::string_view text, std::string& out) {
  if (text.empty() || text.size() % 4 != 0) return false;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  for (size_t i = 0; i < text.size(); i += 4) {
    const bool last = i + 4 == text.size();
    const size_t digits = last ? 4 - padding : 4;
    uint32_t word = 0;
    for (size_t k = 0; k < digits; ++k) {
      const int value = kBase64[static_cast<unsigned char>(text[i + k])];
      if (value < 0) return false;
      word |= static_cast<uint32_t>(value) << (18 - 6 * k);
    }
    for (size_t k = 0; k + 1 < digits; ++k) out += static_cast<char>(word >> (16 - 8 * k) & 0xff);
    const uint32_t stray = digits == 2 ? 0xffff : digits == 3 ? 0xff : 0;
    if ((word & stray) != 0) return false;
  }
  return true;
}

class Lines {
 public:
  Lines(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  // The next line that is not blank, without its line break.
  bool next(std::string_view& line) {
    while (pos_ < bytes_.size()) {
      begin_ = pos_;
      const size_t end = std::min(bytes_.find('\n', pos_), bytes_.size());
      pos_ = end + 1;
      ++number_;
      line = bytes_.substr(begin_, end - begin_);
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (!line.empty()) return true;
    }
    return false;
  }
  [[noreturn]] void fail(std::string reason, std::string expected, std::string_view found) const {
    throw FormatError(describe({.what = "read tokenizer.model",
                                .path = path_,
                                .line = number_,
                                .column = 1,
                                .reason = std::move(reason),
                                .expected = std::move(expected),
                                .found = escaped(found)}));
  }

 private:
  std::string_view bytes_;
  const std::string& path_;
  size_t pos_ = 0, begin_ = 0;
  int64_t number_ = 0;
};

bool is_number(std::string_view text, size_t value) { return text == std::to_string(value); }

void refuse_by_kind(std::string_view bytes, const std::string& path) {
  if (looks_like_sentencepiece(bytes))
    throw FormatError(describe({.what = "read tokenizer.model",
                                .path = path,
                                .reason = "this is a SentencePiece model (Llama 1 and 2)",
                                .expected = "Llama 3's text file of base64 and ranks",
                                .hint = "use the tokenizer.model that came with Llama 3"}));
  if (bytes.size() > kMaxFile)
    throw FormatError(describe({.what = "read tokenizer.model",
                                .path = path,
                                .reason = "the file is too large",
                                .expected = fmt::format("at most {} bytes", kMaxFile),
                                .found = std::to_string(bytes.size())}));
}

}  // namespace

bool looks_like_sentencepiece(std::string_view bytes) {
  // ModelProto.pieces: field 1 with a length; in it SentencePiece.piece: again field 1, "<unk>".
  return bytes.size() > 9 && bytes[0] == '\x0a' && bytes[2] == '\x0a' &&
         bytes.substr(3, 6) == std::string_view("\x05<unk>");
}

std::vector<std::string> llama3_special_tokens() {
  std::vector<std::string> names = {"<|begin_of_text|>",
                                    "<|end_of_text|>",
                                    "<|reserved_special_token_0|>",
                                    "<|reserved_special_token_1|>",
                                    "<|reserved_special_token_2|>",
                                    "<|reserved_special_token_3|>",
                                    "<|start_header_id|>",
                                    "<|end_header_id|>",
                                    "<|reserved_special_token_4|>",
                                    "<|eot_id|>"};
  for (int i = 5; names.size() < kSpecials; ++i)
    names.push_back(fmt::format("<|reserved_special_token_{}|>", i));
  return names;
}

Vocabulary parse_tiktoken(std::string_view bytes, const std::string& path) {
  refuse_by_kind(bytes, path);
  Vocabulary v;
  v.source = path;
  v.rank_is_id = true;
  Lines lines(bytes, path);
  std::string_view line;
  while (lines.next(line)) {
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) lines.fail("no space in the line", "base64 rank", line);
    std::string piece;
    if (!decode_base64(line.substr(0, space), piece))
      lines.fail("not strict base64", "digits and padding", line.substr(0, space));
    if (!is_number(line.substr(space + 1), v.pieces.size()))
      lines.fail("ranks must count up from 0", std::to_string(v.pieces.size()),
                 line.substr(space + 1));
    v.pieces.push_back(std::move(piece));
  }
  const auto base = static_cast<TokenId>(v.pieces.size());
  v.special.assign(v.pieces.size(), false);
  for (std::string& name : llama3_special_tokens()) v.pieces.push_back(std::move(name));
  v.special.resize(v.pieces.size(), true);
  v.bos = base;
  v.eos = base + 1;
  v.pad = base + 2;
  set_end_of_turn(v);
  finish_vocabulary(v, {});
  return v;
}

}  // namespace cria
