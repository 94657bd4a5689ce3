// How texts become prompts: the recipe's vicuna template, which training data is rendered with, and
// the templates of `--prompt_template`.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/conversation.h"
#include "tokenizer/tokenizer.h"

namespace cria {

/// FastChat's "vicuna v1.1", as embedded in the recipe.
struct Vicuna {
  static constexpr std::string_view system =
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
      "helpful, detailed, and polite answers to the user's questions.";
  static constexpr std::string_view user = "USER";
  static constexpr std::string_view assistant = "ASSISTANT";
  static constexpr std::string_view reply_end = "</s>";  // never tokenised: it becomes eos
};

/// The whole conversation as one text, exactly as the recipe's script renders it:
/// `system USER: text ASSISTANT: reply</s>USER: ...`; an empty message leaves just `ROLE:`.
std::string render_vicuna(std::span<const Turn> turns);

/// The part of a round before its reply: `[system ]USER: text ASSISTANT:`. It ends with the colon:
/// the space that follows belongs to the reply's first token. An empty text leaves `USER:`.
std::string vicuna_round_prompt(std::string_view text, bool first_round);

enum class PromptTemplate {
  none,    // the text alone
  alpaca,  // the text as an Alpaca instruction inside the vicuna template: what a model trained by
           // the recipe on Alpaca data has seen
  vicuna,  // the text as a message of the vicuna template: conversations of the recipe
  llama3,  // Llama 3 Instruct's headers
  chatml,  // <|im_start|>user ...
};

/// Throws UsageError naming the known templates.
PromptTemplate parse_prompt_template(std::string_view name);

/// A piece of a prompt: ordinary text, in which special-token text is just text, or the text of one
/// special token.
struct PromptPart {
  std::string text;
  bool special = false;
  bool operator==(const PromptPart&) const = default;
};

/// The prompt for a single message, up to where the reply begins. `input` is the Alpaca input;
/// only `alpaca` takes one. No beginning-of-text token: whoever encodes adds it.
std::vector<PromptPart> render_prompt(PromptTemplate kind, std::string_view text,
                                      std::string_view input = {});

/// Ids of the parts, behind the bos token if asked for. With `allow_special` special-token text in
/// ordinary parts counts too. Throws UsageError when the vocabulary lacks a special token.
std::vector<TokenId> encode_prompt(const Tokenizer& tokenizer, std::span<const PromptPart> parts,
                                   bool bos, bool allow_special = false);

}  // namespace cria
