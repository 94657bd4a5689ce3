#include "tokenizer/tokenizer.h"

#include "base/error.h"
#include "base/text.h"
#include "tokenizer/byte_pair.h"
#include "tokenizer/nfc.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/vocabulary.h"

namespace cria {

struct Tokenizer::Impl {
  Vocabulary vocabulary;
  BytePairMerger merger;
  SpecialTokens specials;

  explicit Impl(Vocabulary v)
      : vocabulary(std::move(v)), merger(vocabulary), specials(vocabulary) {}

  void encode_ordinary(std::string_view text, std::vector<TokenId>& out) const {
    for (size_t pos = 0; pos < text.size();) {
      const size_t end = piece_end(vocabulary.pre_tokenizer, text, pos);
      merger.encode(text.substr(pos, end - pos), out);
      pos = end;
    }
  }

  void encode(std::string_view text, bool allow_special, std::vector<TokenId>& out) const {
    size_t pos = 0;
    while (allow_special) {
      const SpecialTokens::Match match = specials.find_in(text, pos);
      if (match.id < 0) break;
      encode_ordinary(text.substr(pos, match.begin - pos), out);
      out.push_back(match.id);
      pos = match.begin + match.size;
    }
    encode_ordinary(text.substr(pos), out);
  }

  [[nodiscard]] const std::string& piece(TokenId id) const {
    require(id >= 0 && static_cast<size_t>(id) < vocabulary.pieces.size(),
            "decode: token id {} is outside the vocabulary of {}", id, vocabulary.pieces.size());
    return vocabulary.pieces[static_cast<size_t>(id)];
  }
};

Tokenizer::Tokenizer(Vocabulary vocabulary) {
  // Loaders check what they read and then set the fingerprint.
  if (vocabulary.fingerprint.empty()) {
    check_vocabulary(vocabulary);
    vocabulary.fingerprint = fingerprint_of(vocabulary);
  }
  impl_ = std::make_unique<const Impl>(std::move(vocabulary));
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<TokenId> out;
  out.reserve(text.size() / 4 + 4);
  encode(text, options, out);
  return out;
}

void Tokenizer::encode(std::string_view text, const EncodeOptions& options,
                       std::vector<TokenId>& out) const {
  if (const auto bad = find_invalid_utf8(text))
    throw UsageError(describe({.what = "encode text",
                               .offset = static_cast<int64_t>(*bad),
                               .reason = "not valid UTF-8",
                               .found = escaped(text.substr(*bad, 4))}));
  const std::optional<TokenId>&bos = vocabulary().bos, &eos = vocabulary().eos;
  require(!options.bos || bos.has_value(), "encode: the vocabulary has no bos token");
  require(!options.eos || eos.has_value(), "encode: the vocabulary has no eos token");
  if (options.bos) out.push_back(*bos);
  if (options.nfc) {
    impl_->encode(nfc(text), options.allow_special, out);
  } else {
    impl_->encode(text, options.allow_special, out);
  }
  if (options.eos) out.push_back(*eos);
}

std::string Tokenizer::decode_bytes(std::span<const TokenId> ids, bool skip_special) const {
  std::string out;
  for (const TokenId id : ids) {
    const std::string& piece = impl_->piece(id);
    if (!skip_special || !is_special(id)) out += piece;
  }
  return out;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  return replace_invalid_utf8(decode_bytes(ids, skip_special));
}

int64_t Tokenizer::vocab_size() const { return static_cast<int64_t>(vocabulary().pieces.size()); }
const Vocabulary& Tokenizer::vocabulary() const { return impl_->vocabulary; }

bool Tokenizer::is_special(TokenId id) const {
  const std::vector<bool>& special = vocabulary().special;
  return id >= 0 && static_cast<size_t>(id) < special.size() && special[static_cast<size_t>(id)];
}

std::optional<TokenId> Tokenizer::find_special(std::string_view text) const {
  return impl_->specials.find(text);
}

std::string StreamDecoder::put(TokenId id) {
  held_ += tokenizer_.decode_bytes({&id, 1}, skip_special_);
  const size_t certain = complete_utf8_prefix(held_);
  std::string text = replace_invalid_utf8(std::string_view(held_).substr(0, certain));
  held_.erase(0, certain);
  return text;
}

std::string StreamDecoder::end() {
  std::string text = replace_invalid_utf8(held_);
  held_.clear();
  return text;
}

}  // namespace cria
