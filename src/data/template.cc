#include "data/template.h"

#include <array>

#include "base/error.h"
#include "data/alpaca.h"

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

std::vector<PromptPart> render_prompt(PromptTemplate kind, std::string_view text,
                                      std::string_view input) {
  require(input.empty() || kind == PromptTemplate::alpaca,
          "prompt_template: an input is given, but only the template alpaca takes one");
  const auto plain = [](std::string t) { return PromptPart{std::move(t), false}; };
  const auto special = [](std::string t) { return PromptPart{std::move(t), true}; };
  switch (kind) {
    case PromptTemplate::none:
      return {plain(std::string(text))};
    case PromptTemplate::alpaca:
      return {plain(vicuna_round_prompt(alpaca_prompt(text, input), true))};
    case PromptTemplate::vicuna:
      return {plain(vicuna_round_prompt(text, true))};
    case PromptTemplate::llama3:
      return {special("<|start_header_id|>"),
              plain("user"),
              special("<|end_header_id|>"),
              plain("\n\n" + std::string(text)),
              special("<|eot_id|>"),
              special("<|start_header_id|>"),
              plain("assistant"),
              special("<|end_header_id|>"),
              plain("\n\n")};
    case PromptTemplate::chatml:
      return {special("<|im_start|>"), plain("user\n" + std::string(text)),
              special("<|im_end|>"),   plain("\n"),
              special("<|im_start|>"), plain("assistant\n")};
  }
  check(false, "every prompt template is rendered");
  return {};
}

std::vector<TokenId> encode_prompt(const Tokenizer& tokenizer, std::span<const PromptPart> parts,
                                   bool bos, bool allow_special) {
  std::vector<TokenId> ids = tokenizer.encode("", {.bos = bos});
  for (const PromptPart& part : parts) {
    if (!part.special) {
      tokenizer.encode(part.text, {.allow_special = allow_special}, ids);
      continue;
    }
    const auto id = tokenizer.find_special(part.text);
    require(id.has_value(),
            "prompt_template: the vocabulary has no token {}; try: another template", part.text);
    ids.push_back(*id);
  }
  return ids;
}

}  // namespace cria
