// Any UTF-8 text: decoding gives it back, pieces tile it, every piece merges as a slow reference
// says, and a stream decoder gives the same text; anything else is refused.
#include <cstdint>
#include <map>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace {

using cria::TokenId;

// All bytes, then pieces that overlap one another in many ways.
cria::Vocabulary small_vocabulary() {
  cria::Vocabulary v;
  for (int byte = 0; byte < 256; ++byte) v.pieces.emplace_back(1, static_cast<char>(byte));
  for (const char* piece :
       {"aa",  "ab",   "ba", "  ",   "th",       "aba",      "he",        "the", "aaaa",
        "bab", "\n\n", " t", " the", "\xc3\xa9", "\xcc\x81", "e\xcc\x81", "'s",  "!!",
        "!!!", "    ", "ll", "'ll",  "12",       "123",      "\xf0\x9f",  "aaa"})
    v.pieces.emplace_back(piece);
  v.special.assign(v.pieces.size(), false);
  for (const char* special : {"<|a|>", "<|ab|>", "<|a|>b"}) {
    v.pieces.emplace_back(special);
    v.special.push_back(true);
  }
  v.rank_is_id = true;
  return v;
}

// The definition: the whole piece, or else join the leftmost pair that makes the lowest id.
void slow_encode(const std::map<std::string, TokenId, std::less<>>& ids, std::string_view piece,
                 std::vector<TokenId>& out) {
  std::vector<std::string> parts;
  if (ids.contains(piece)) parts.emplace_back(piece);
  if (parts.empty())
    for (const char c : piece) parts.emplace_back(1, c);
  while (true) {
    size_t best = parts.size();
    TokenId lowest = INT32_MAX;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto id = ids.find(parts[i] + parts[i + 1]);
      if (id != ids.end() && id->second < lowest) {
        lowest = id->second;
        best = i;
      }
    }
    if (best == parts.size()) break;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  for (const std::string& part : parts) out.push_back(ids.at(part));
}

void compare(const cria::Tokenizer& tokenizer, std::string_view text) {
  static const auto ids = [&] {
    std::map<std::string, TokenId, std::less<>> map;
    const cria::Vocabulary& v = tokenizer.vocabulary();
    for (size_t id = 0; id < v.pieces.size(); ++id)
      if (!v.special[id]) map[v.pieces[id]] = static_cast<TokenId>(id);
    return map;
  }();
  std::vector<TokenId> expected;
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = cria::piece_end(tokenizer.vocabulary().pre_tokenizer, text, pos);
    cria::check(end > pos && end <= text.size(), "pieces tile the text");
    slow_encode(ids, text.substr(pos, end - pos), expected);
    pos = end;
  }
  cria::check(tokenizer.encode(text) == expected, "fast and slow merging agree");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 4096) return 0;  // the reference is cubic
  static const cria::Tokenizer tokenizers[] = {cria::Tokenizer(small_vocabulary()),
                                               cria::Tokenizer([] {
                                                 cria::Vocabulary v = small_vocabulary();
                                                 v.pre_tokenizer = cria::PreTokenizer::smollm;
                                                 return v;
                                               }()),
                                               cria::Tokenizer([] {
                                                 cria::Vocabulary v = small_vocabulary();
                                                 v.pre_tokenizer = cria::PreTokenizer::gpt2;
                                                 return v;
                                               }())};
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const cria::Tokenizer& tokenizer : tokenizers) {
    if (cria::find_invalid_utf8(text)) {
      try {
        (void)tokenizer.encode(text);
        cria::check(false, "text that is not UTF-8 is refused");
      } catch (const cria::UsageError&) {
      }
      continue;
    }
    compare(tokenizer, text);
    const auto ids = tokenizer.encode(text, {.allow_special = true});
    cria::check(tokenizer.decode_bytes(ids) == text, "text comes back");
    cria::StreamDecoder stream(tokenizer, false);
    std::string streamed;
    for (const TokenId id : ids) streamed += stream.put(id);
    cria::check(streamed + stream.end() == text, "a stream gives the same text");
    (void)tokenizer.encode(text, {.allow_special = true, .nfc = true});
  }
  return 0;
}
