// One conversation as token ids with labels: what the model learns from.
//
// A label is the token itself where the model is trained to produce it, else kIgnored. Labels share
// the index of the ids; the shift by one happens when batches are made (data/loader.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/conversation.h"
#include "tokenizer/tokenizer.h"

namespace cria {

constexpr int32_t kIgnored = -100;

struct Sample {
  std::vector<TokenId> ids;     // at most record_length, no padding behind
  std::vector<int32_t> labels;  // same size
  bool truncated = false;       // the conversation was longer
  int64_t empty_replies = 0;    // rounds left out
  [[nodiscard]] int64_t trained() const;
};

/// Turns conversations into samples by our rules, or by the recipe's script. Thread-safe.
class SampleMaker {
 public:
  struct Settings {
    TokenId bos = 0, eos = 0, pad = 0;
    int64_t record_length = 0;   // tokens of a record, seq_length + 1
    bool allow_special = false;  // special-token text in the data becomes special tokens
    bool keep_empty = false;     // keep rounds whose reply is empty, as an eos alone
  };
  /// Borrows the tokenizer.
  SampleMaker(const Tokenizer& tokenizer, Settings settings);

  /// Our rules, right by construction: bos, then per round the tokens of `[system ]USER: text
  /// ASSISTANT:`, of ` reply`, and eos; trained are the reply's tokens and eos. The cut between
  /// colon and space is one that pre-tokenisers always make, so the ids are those of the whole text,
  /// and a model that is given the prompt up to the colon produces exactly what was trained. Rounds
  /// with an empty reply and an unanswered last message are left out. False: no round is left.
  bool make(const Conversation& conversation, Sample& sample) const;

  /// The recipe's script to the letter: NFC, special-token text becomes special tokens, `</s>` and
  /// ` ASSISTANT: ` inside messages break rounds, and when its length check fails every label of
  /// the record is ignored.
  void make_as_recipe(const Conversation& conversation, Sample& sample) const;

  /// True when both of the above give the same, found without tokenising. False: perhaps not.
  [[nodiscard]] bool surely_same(const Conversation& conversation) const;

 private:
  void truncate(Sample& sample) const;

  const Tokenizer& tokenizer_;
  Settings settings_;
  std::string special_prefix_;  // what all special tokens begin with
};

/// What the texts of all special tokens begin with, e.g. `<|`; empty when there is nothing common.
std::string common_special_prefix(const Tokenizer& tokenizer);
/// True when the recipe's tokenizer settings (NFC, special tokens) surely change nothing: the text
/// is in NFC and `special_prefix` does not occur in it.
bool plain_for_recipe(std::string_view text, std::string_view special_prefix);

}  // namespace cria
