// Text <-> token ids. One class serves every vocabulary we read; how it was stored is forgotten
// after loading.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria {

using TokenId = int32_t;

enum class PreTokenizer {
  llama3,  // tiktoken's Llama 3 pattern
  smollm,  // digits one by one, then GPT-2's pattern
  gpt2,    // GPT-2's pattern
};

/// What a vocabulary file says, as plain tables; loaders (tokenizer/load.h) fill it.
struct Vocabulary {
  std::vector<std::string> pieces;  // raw bytes by id, special tokens included as their text
  std::vector<bool> special;        // by id
  /// Merge rank of every pair that may be joined: either by joined-token id order (tiktoken: rank =
  /// id) ...
  bool rank_is_id = false;
  /// ... or by an explicit list, best first, of (left id, right id).
  std::vector<std::pair<TokenId, TokenId>> merges;
  std::vector<TokenId> merged;  // what each of these makes; filled by check_vocabulary
  PreTokenizer pre_tokenizer = PreTokenizer::llama3;
  bool ignore_merges = false;  // a whole pre-token in the vocabulary is taken before any merging
  std::optional<TokenId> bos, eos, pad;
  /// What a byte without a piece becomes; without it such a byte is dropped, as Hugging Face's
  /// tokenizers and llama.cpp do (SmolLM2 lacks some control characters).
  std::optional<TokenId> unknown;
  std::vector<TokenId> end_of_turn;  // further ids that end a reply (eot, eom, im_end)
  std::string chat_template;         // as found; compared with known ones, never run
  std::string fingerprint;           // SHA-256 (hex) of ids, pieces, merges and specials
  std::string source;                // the file, for messages
};

struct EncodeOptions {
  bool allow_special = false;  // special-token text in the input becomes the special token
  bool bos = false, eos = false;
  bool nfc = false;  // Unicode NFC first: only as part of --compat mindformers
};

/// Immutable; safe to share between threads.
class Tokenizer {
 public:
  /// Checks the vocabulary (tokenizer/vocabulary.h) and fills an empty fingerprint.
  explicit Tokenizer(Vocabulary vocabulary);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  /// `text` must be valid UTF-8, else UsageError. O(n log n) for any input; no cuts, no
  /// normalisation unless asked. bos or eos without such a token: UsageError.
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text,
                                            const EncodeOptions& options = {}) const;
  /// Appends to `out`; the form the data pipeline uses.
  void encode(std::string_view text, const EncodeOptions& options, std::vector<TokenId>& out) const;
  /// The bytes of the tokens, which need not be valid UTF-8. An id outside the vocabulary throws
  /// UsageError.
  [[nodiscard]] std::string decode_bytes(std::span<const TokenId> ids,
                                         bool skip_special = false) const;
  /// decode_bytes with U+FFFD per maximal invalid part.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids, bool skip_special = false) const;

  [[nodiscard]] int64_t vocab_size() const;
  [[nodiscard]] const Vocabulary& vocabulary() const;
  [[nodiscard]] bool is_special(TokenId id) const;
  [[nodiscard]] std::optional<TokenId> find_special(std::string_view text) const;
  [[nodiscard]] const std::string& fingerprint() const { return vocabulary().fingerprint; }

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

/// Decodes a stream token by token and holds back bytes that do not form whole characters yet.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}
  /// The text that became certain with this token; may be empty.
  std::string put(TokenId id);
  /// What was held back, with U+FFFD for parts that never became whole.
  std::string end();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::string held_;
};

}  // namespace cria
