#include "data/template.h"

#include <array>

#include "base/error.h"
#include "data/alpaca.h"
#include "tokenizer/chat.h"

namespace cria {
namespace {

struct Named {
  std::string_view name;
  PromptTemplate kind;
};
constexpr std::array<Named, 5> kTemplates = {{{"none", PromptTemplate::none},
                                              {"alpaca", PromptTemplate::alpaca},
                                              {"vicuna", PromptTemplate::vicuna},
                                              {"llama3", PromptTemplate::llama3},
                                              {"chatml", PromptTemplate::chatml}}};

}  // namespace

std::string render_vicuna(std::span<const Turn> turns) {
  std::string out = fmt::format("{} ", Vicuna::system);
  for (size_t i = 0; i < turns.size(); ++i) {
    const bool user = i % 2 == 0;
    out += user ? Vicuna::user : Vicuna::assistant;
    out += ':';
    if (turns[i].value.empty()) continue;
    out += ' ';
    out += turns[i].value;
    out += user ? " " : Vicuna::reply_end;
  }
  return out;
}

std::string vicuna_round_prompt(std::string_view text, bool first_round) {
  std::string out;
  out.reserve(text.size() + 200);
  if (first_round) {
    out += Vicuna::system;
    out += ' ';
  }
  out += Vicuna::user;
  out += ':';
  if (!text.empty()) {
    out += ' ';
    out += text;
  }
  out += ' ';
  out += Vicuna::assistant;
  out += ':';
  return out;
}

PromptTemplate parse_prompt_template(std::string_view name) {
  for (const Named& known : kTemplates)
    if (known.name == name) return known.kind;
  throw UsageError(describe({.what = "prompt_template",
                             .reason = "unknown template",
                             .expected = "none, alpaca, vicuna, llama3 or chatml",
                             .found = fmt::format("\"{}\"", escaped(name))}));
}

std::string render_prompt(PromptTemplate kind, std::string_view text, std::string_view input) {
  require(input.empty() || kind == PromptTemplate::alpaca,
          "prompt_template: an input is given, but only the template alpaca takes one");
  switch (kind) {
    case PromptTemplate::none:
      return std::string(text);
    case PromptTemplate::alpaca:
      return vicuna_round_prompt(alpaca_prompt(text, input), true);
    case PromptTemplate::vicuna:
      return vicuna_round_prompt(text, true);
    case PromptTemplate::llama3:
    case PromptTemplate::chatml:
      break;
  }
  check(false, "chat layouts have no text form: their special tokens are ids");
  return {};
}

std::vector<TokenId> encode_prompt(const Tokenizer& tokenizer, PromptTemplate kind,
                                   std::string_view text, const PromptOptions& options) {
  if (kind != PromptTemplate::llama3 && kind != PromptTemplate::chatml)
    return tokenizer.encode(render_prompt(kind, text, options.input),
                            {.allow_special = options.allow_special, .bos = options.bos});
  require(options.input.empty(),
          "prompt_template: an input is given, but only the template alpaca takes one");
  const ChatLayout layout =
      kind == PromptTemplate::llama3 ? ChatLayout::llama3 : ChatLayout::chatml;
  ChatFormat format = detect_chat_format(tokenizer.vocabulary());
  if (format.layout != layout) format = {.layout = layout, .default_system = {}};
  const ChatMessage message{.role = "user", .content = std::string(text)};
  return encode_chat(tokenizer, format, {&message, 1}, true);
}

}  // namespace cria
