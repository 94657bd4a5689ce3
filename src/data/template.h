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
  llama3,  // Llama 3 Instruct's headers (tokenizer/chat.h)
  chatml,  // <|im_start|>user ... (tokenizer/chat.h)
};

/// Throws UsageError naming the known templates.
PromptTemplate parse_prompt_template(std::string_view name);

/// The text of a prompt for a single message, up to where the reply begins; `kind` is none, alpaca
/// or vicuna. `input` is the Alpaca input; only `alpaca` takes one (UsageError).
std::string render_prompt(PromptTemplate kind, std::string_view text, std::string_view input = {});

struct PromptOptions {
  bool bos = false;  // none, alpaca, vicuna: bos in front; chat layouts know it themselves
  bool allow_special = false;  // the same three: special-token text counts; never in chat layouts
  std::string_view input;      // see render_prompt
};

/// Ids of a prompt for a single message, by any template; chat layouts put the model's own default
/// system message in front when it has one. Throws UsageError when the vocabulary lacks the special
/// tokens of the layout.
std::vector<TokenId> encode_prompt(const Tokenizer& tokenizer, PromptTemplate kind,
                                   std::string_view text, const PromptOptions& options = {});

}  // namespace cria
