#include "generate/generator.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/error.h"

namespace cria {
namespace {

using Clock = std::chrono::steady_clock;

// A prompt on its way.
struct Sequence {
  size_t prompt;
  KvCache cache;
  Sampler sampler;
  int32_t last;   // token
  int64_t limit;  // new tokens at most
  Generated result;
};

// How many new tokens a prompt of this length may get.
int64_t room(const LlamaConfig& config, const GenerateSettings& settings, int64_t prompt_length) {
  const int64_t context = settings.max_length > 0
                              ? std::min(settings.max_length, config.max_position_embeddings)
                              : config.max_position_embeddings;
  require(
      prompt_length <= context,
      "generate: the prompt has {} tokens, more than the limit of {} ({}); try: a shorter prompt",
      prompt_length, context,
      context == config.max_position_embeddings ? "the model's context" : "max_length");
  return std::min(settings.max_new_tokens, context - prompt_length);
}

class Run {
 public:
  Run(Decoder& decoder, const GenerateSettings& settings, const TokenCall& on_token)
      : settings_(settings), decoder_(decoder), on_token_(on_token) {}

  void prefill(size_t prompt, const std::vector<int32_t>& ids, int64_t limit) {
    auto sequence = std::make_unique<Sequence>(Sequence{
        prompt,
        KvCache(decoder_.local(), settings_.cache.value_or(settings_.compute), decoder_.memory()),
        Sampler(settings_.sampling, settings_.eos_ids, ids),
        ids.back(),
        limit,
        {}});
    Tensor logits(DType::f32, 1, decoder_.config().vocab_size, decoder_.memory());
    decoder_.prefill(ids, sequence->cache, logits);
    take(*sequence, choose({&sequence, 1}, logits).front());
    if (running(*sequence)) {
      active_.push_back(std::move(sequence));
    } else {
      finished_.push_back(std::move(sequence));
    }
  }

  void decode_all() {
    Tensor logits(DType::f32, std::ssize(active_), decoder_.config().vocab_size, decoder_.memory());
    while (!active_.empty()) {
      std::vector<int32_t> last;
      std::vector<KvCache*> caches;
      for (const auto& s : active_) {
        last.push_back(s->last);
        caches.push_back(&s->cache);
      }
      const auto rows = std::ssize(active_);
      decoder_.step(last, caches, logits.view().row_range(0, rows));
      const std::vector<int32_t> next = choose(active_, logits.view().row_range(0, rows));
      for (size_t r = 0; r < next.size(); ++r) take(*active_[r], next[r]);
      const auto done = std::stable_partition(active_.begin(), active_.end(),
                                              [&](const auto& s) { return running(*s); });
      std::move(done, active_.end(), std::back_inserter(finished_));
      active_.erase(done, active_.end());
    }
  }

  void collect(std::vector<Generated>& results) {
    for (auto& s : finished_) results[s->prompt] = std::move(s->result);
    finished_.clear();
  }

 private:
  /// Each sequence's next token, from its row of logits, which are used up.
  [[nodiscard]] std::vector<int32_t> choose(std::span<const std::unique_ptr<Sequence>> sequences,
                                            View logits) const {
    const Groups* const groups = settings_.groups;
    std::vector<int32_t> next(sequences.size());
    if (decoder_.has_head() && (groups == nullptr || groups->grid.tp_index() == 0)) {
      std::vector<ops::TokenRule> rules;
      for (const auto& s : sequences) rules.push_back(s->sampler.next(std::ssize(s->result.ids)));
      ops::next_tokens(logits, rules, next, decoder_.exec());
      if (std::find(next.begin(), next.end(), ops::kNoToken) != next.end()) {
        throw Error(
            ExitCode::numbers,
            "generate: the model's logits are not numbers; try: --dtype fp32, or other weights");
      }
    }
    agree(next);
    return next;
  }
  /// Ranks on unlike processors may differ in a logit's last bit, and only the last stage's have any: what one of them chose holds for
  /// all.
  void agree(std::span<int32_t> tokens) const {
    if (settings_.groups == nullptr) return;
    Groups& groups = *settings_.groups;
    const std::span<std::byte> bytes = std::as_writable_bytes(tokens);
    if (decoder_.has_head() && !groups.tp.alone()) groups.tp.broadcast(bytes, 0);
    if (!groups.pp.alone()) groups.pp.broadcast(bytes, groups.grid.pp - 1);
  }
  void take(Sequence& s, int32_t token) {
    s.result.ids.push_back(token);
    s.last = token;
    s.sampler.see(token);
    s.result.ended = std::find(settings_.eos_ids.begin(), settings_.eos_ids.end(), token) !=
                     settings_.eos_ids.end();
    if (on_token_) on_token_(s.prompt, token);
  }
  [[nodiscard]] static bool running(const Sequence& s) {
    return !s.result.ended && std::ssize(s.result.ids) < s.limit;
  }

  const GenerateSettings& settings_;
  Decoder& decoder_;
  const TokenCall& on_token_;
  std::vector<std::unique_ptr<Sequence>> active_, finished_;
};

}  // namespace

std::vector<Generated> generate(Decoder& decoder, std::span<const std::vector<int32_t>> prompts,
                                const GenerateSettings& settings, const TokenCall& on_token,
                                GenerateTiming* timing) {
  const LlamaConfig& config = decoder.config();
  check_sampling(settings.sampling);
  require(settings.max_new_tokens >= 0, "generate: max_new_tokens is {}, expected 0 or more",
          settings.max_new_tokens);
  for (const int32_t id : settings.eos_ids)
    require(id >= 0 && id < config.vocab_size,
            "generate: eos id {} is outside the vocabulary of {}", id, config.vocab_size);
  std::vector<int64_t> limits;
  for (const auto& prompt : prompts) {
    require(!prompt.empty(), "generate: a prompt has no tokens");
    for (const int32_t id : prompt)
      require(id >= 0 && id < config.vocab_size,
              "generate: token {} is outside the vocabulary of {}", id, config.vocab_size);
    limits.push_back(room(config, settings, std::ssize(prompt)));
  }

  std::vector<Generated> results(prompts.size());
  GenerateTiming spent;
  Run run(decoder, settings, on_token);
  const auto step = static_cast<size_t>(std::max<int64_t>(1, settings.batch_size));
  for (size_t first = 0; first < prompts.size(); first += step) {
    const auto start = Clock::now();
    const size_t end = std::min(prompts.size(), first + step);
    for (size_t p = first; p < end; ++p) {
      if (limits[p] > 0) run.prefill(p, prompts[p], limits[p]);
      spent.prompt_tokens += std::ssize(prompts[p]);
    }
    const auto prefilled = Clock::now();
    run.decode_all();
    spent.prefill_seconds += std::chrono::duration<double>(prefilled - start).count();
    spent.decode_seconds += std::chrono::duration<double>(Clock::now() - prefilled).count();
    run.collect(results);
  }
  for (const Generated& g : results) spent.new_tokens += std::ssize(g.ids);
  if (timing != nullptr) *timing = spent;
  return results;
}

std::vector<Generated> generate(const LlamaConfig& config, const ParamArena& weights,
                                std::span<const std::vector<int32_t>> prompts,
                                const GenerateSettings& settings, ops::Exec& exec,
                                const TokenCall& on_token, GenerateTiming* timing) {
  Decoder decoder(config, weights, settings.compute, exec, settings.groups);
  return generate(decoder, prompts, settings, on_token, timing);
}

}  // namespace cria
