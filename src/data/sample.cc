#include "data/sample.h"

#include <algorithm>

#include "data/template.h"
#include "tokenizer/nfc.h"

namespace cria {
namespace {

constexpr std::string_view kReplyMark = " ASSISTANT: ";

// What the recipe's script sees of one round.
struct Round {
  std::string_view text;
  int64_t tokens = 0;  // with eos
};

// Rounds of the rendered text, up to the first empty one.
std::vector<Round> split_rounds(std::string_view text) {
  std::vector<Round> rounds;
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = text.find(Vicuna::reply_end, begin);
    if (end == std::string_view::npos) end = text.size();
    if (end == begin) break;
    rounds.push_back({text.substr(begin, end - begin)});
    begin = end + Vicuna::reply_end.size();
  }
  return rounds;
}

// The text up to and with the reply mark, when that occurs exactly once; else empty.
std::string_view prompt_of(std::string_view round) {
  const size_t mark = round.find(kReplyMark);
  if (mark == std::string_view::npos) return {};
  const size_t end = mark + kReplyMark.size();
  return round.find(kReplyMark, end) == std::string_view::npos ? round.substr(0, end)
                                                               : std::string_view();
}

}  // namespace

int64_t Sample::trained() const {
  return std::count_if(labels.begin(), labels.end(), [](int32_t l) { return l != kIgnored; });
}

std::string common_special_prefix(const Tokenizer& tokenizer) {
  std::optional<std::string_view> prefix;
  const Vocabulary& v = tokenizer.vocabulary();
  for (size_t id = 0; id < v.pieces.size(); ++id) {
    if (!v.special[id]) continue;
    const std::string_view piece = v.pieces[id];
    if (!prefix) prefix = piece;
    const auto [a, b] = std::mismatch(prefix->begin(), prefix->end(), piece.begin(), piece.end());
    prefix = prefix->substr(0, static_cast<size_t>(a - prefix->begin()));
  }
  return std::string(prefix.value_or(""));
}

bool plain_for_recipe(std::string_view text, std::string_view special_prefix) {
  if (text.find(special_prefix) != std::string_view::npos) return false;
  const bool ascii = std::all_of(text.begin(), text.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  return ascii || nfc(text) == text;
}

SampleMaker::SampleMaker(const Tokenizer& tokenizer, Settings settings)
    : tokenizer_(tokenizer),
      settings_(settings),
      special_prefix_(common_special_prefix(tokenizer)) {}

bool SampleMaker::make(const Conversation& conversation, Sample& sample) const {
  sample.ids.assign(1, settings_.bos);
  sample.labels.assign(1, kIgnored);
  sample.empty_replies = 0;
  const EncodeOptions options{.allow_special = settings_.allow_special};
  bool any = false;
  const auto& turns = conversation.turns;
  for (size_t i = 0; i + 1 < turns.size(); i += 2) {
    const std::string& reply = turns[i + 1].value;
    if (reply.empty() && !settings_.keep_empty) {
      ++sample.empty_replies;
      continue;
    }
    const std::string prompt = vicuna_round_prompt(turns[i].value, !any);
    any = true;
    tokenizer_.encode(prompt, options, sample.ids);
    sample.labels.resize(sample.ids.size(), kIgnored);
    if (!reply.empty()) tokenizer_.encode(" " + reply, options, sample.ids);
    sample.ids.push_back(settings_.eos);
    sample.labels.insert(sample.labels.end(),
                         sample.ids.begin() + static_cast<std::ptrdiff_t>(sample.labels.size()),
                         sample.ids.end());
  }
  truncate(sample);
  return any;
}

void SampleMaker::make_as_recipe(const Conversation& conversation, Sample& sample) const {
  const std::string text = render_vicuna(conversation.turns);
  const EncodeOptions options{.allow_special = true, .nfc = true};
  std::vector<Round> rounds = split_rounds(text);
  auto& ids = sample.ids;
  ids.assign(1, settings_.bos);
  sample.empty_replies = 0;
  for (Round& round : rounds) {
    const size_t before = ids.size();
    tokenizer_.encode(round.text, options, ids);
    ids.push_back(settings_.eos);
    round.tokens = static_cast<int64_t>(ids.size() - before);
  }
  auto& labels = sample.labels;
  labels.assign(ids.begin(), ids.end());
  const auto size = static_cast<int64_t>(ids.size());
  const auto ignore = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < std::min(end, size); ++i) labels[static_cast<size_t>(i)] = kIgnored;
  };
  ignore(0, 1);
  int64_t seen = 1;
  for (const Round& round : rounds) {
    const std::string_view prompt = prompt_of(round.text);
    if (prompt.empty()) break;
    // The prompt's last token is its final space, which in the round opens the reply.
    const auto prompt_tokens = static_cast<int64_t>(tokenizer_.encode(prompt, options).size());
    ignore(seen, seen + prompt_tokens - 1);
    seen += round.tokens;
  }
  ignore(seen, size);
  const auto not_pad = size - std::count(ids.begin(), ids.end(), settings_.pad);
  if (seen < settings_.record_length && seen != not_pad) ignore(0, size);
  truncate(sample);
}

bool SampleMaker::surely_same(const Conversation& conversation) const {
  const auto& turns = conversation.turns;
  if (turns.empty() || turns.size() % 2 != 0) return false;
  return std::all_of(turns.begin(), turns.end(), [&](const Turn& turn) {
    const std::string_view text = turn.value;
    return !text.empty() && text.find("ASSISTANT:") == std::string_view::npos &&
           text.find(Vicuna::reply_end) == std::string_view::npos &&
           plain_for_recipe(text, special_prefix_);
  });
}

void SampleMaker::truncate(Sample& sample) const {
  const auto limit = static_cast<size_t>(settings_.record_length);
  sample.truncated = sample.ids.size() > limit;
  if (!sample.truncated) return;
  sample.ids.resize(limit);
  sample.labels.resize(limit);
}

}  // namespace cria
