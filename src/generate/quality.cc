#include "generate/quality.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/thread_pool.h"

namespace cria {
namespace {

// Logits of so many tokens are in memory at once.
constexpr int64_t kPiece = 64;

/// log of the sum of exponentials.
double log_sum(std::span<const float> logits) {
  const auto most = static_cast<double>(*std::ranges::max_element(logits));
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - most);
  return most + std::log(sum);
}

size_t likeliest(std::span<const float> logits) {
  return static_cast<size_t>(std::ranges::max_element(logits) - logits.begin());
}

struct Token {
  double loss = 0, reference_loss = 0, divergence = 0;
  bool same_top = false;
};

/// One model's pass through a window, piece by piece.
class Pass {
 public:
  Pass(Decoder& decoder, DType cache)
      : decoder_(decoder),
        cache_(decoder.local(), cache, decoder.memory()),
        logits_(DType::f32, kPiece, decoder.config().vocab_size, decoder.memory()) {
    if (logits_.memory() != nullptr) here_ = Tensor(DType::f32, kPiece, logits_.cols());
  }
  void begin() { cache_.truncate(0); }
  /// Logits of each token, in the host's memory.
  View advance(std::span<const int32_t> ids) {
    const View rows = logits_.view().row_range(0, std::ssize(ids));
    decoder_.prefill_all(ids, cache_, rows);
    if (logits_.memory() == nullptr) return rows;
    const View copy = here_.view().row_range(0, rows.rows);
    logits_.memory()->read(copy.data, rows.data, bytes_of(copy).size());
    return copy;
  }

 private:
  Decoder& decoder_;
  KvCache cache_;
  Tensor logits_, here_;  // on a device `here_` has the copy
};

Quality summed(const std::vector<Token>& tokens) {
  Quality q;
  q.tokens = std::ssize(tokens);
  std::vector<double> sorted;
  for (const Token& t : tokens) {
    q.loss += t.loss;
    q.reference_loss += t.reference_loss;
    q.divergence += t.divergence;
    q.same_top += t.same_top ? 1 : 0;
    sorted.push_back(t.divergence);
  }
  const auto count = static_cast<double>(q.tokens);
  for (double* sum : {&q.loss, &q.reference_loss, &q.divergence, &q.same_top}) *sum /= count;
  std::ranges::sort(sorted);
  q.divergence_99 = sorted[(sorted.size() - 1) * 99 / 100];
  q.largest_divergence = sorted.back();
  return q;
}

}  // namespace

double token_loss(std::span<const float> logits, int32_t token) {
  return log_sum(logits) - static_cast<double>(logits[static_cast<size_t>(token)]);
}

double divergence(std::span<const float> reference, std::span<const float> model) {
  const double a = log_sum(reference), b = log_sum(model);
  double sum = 0;
  for (size_t v = 0; v < reference.size(); ++v) {
    const double p = static_cast<double>(reference[v]) - a, q = static_cast<double>(model[v]) - b;
    sum += std::exp(p) * (p - q);
  }
  return std::max(0.0, sum);  // below by rounding only
}

Quality evaluate_text(Decoder& model, Decoder* reference, std::span<const int32_t> ids,
                      const QualitySettings& settings, ThreadPool& pool,
                      const std::function<void(int64_t)>& done) {
  const int64_t context = settings.context, most = model.config().max_position_embeddings;
  require(context >= 2 && context <= most, "eval: --context is {}, expected 2 to {}, the model's",
          context, most);
  require(std::ssize(ids) >= 2, "eval: the text has {} tokens, expected 2 or more", ids.size());
  require(reference == nullptr || reference->config().vocab_size == model.config().vocab_size,
          "eval: the reference has a vocabulary of {}, expected {}",
          reference == nullptr ? 0 : reference->config().vocab_size, model.config().vocab_size);
  Pass ours(model, settings.cache);
  std::optional<Pass> theirs;
  if (reference != nullptr) theirs.emplace(*reference, settings.reference_cache);
  std::vector<Token> tokens;
  for (int64_t begin = 0; begin + 1 < std::ssize(ids); begin += context) {
    const int64_t end = std::min(std::ssize(ids), begin + context);
    ours.begin();
    if (theirs) theirs->begin();
    // The last token of a window foretells nothing.
    for (int64_t at = begin; at < end - 1; at += kPiece) {
      const int64_t count = std::min(kPiece, end - 1 - at);
      const auto piece = ids.subspan(static_cast<size_t>(at), static_cast<size_t>(count));
      const View logits = ours.advance(piece);
      const View wanted = theirs ? theirs->advance(piece) : View();
      const auto first = static_cast<int64_t>(tokens.size());
      tokens.resize(static_cast<size_t>(first + count));
      pool.parallel_for(count, [&](int64_t i) {
        const int32_t next = ids[static_cast<size_t>(at + i + 1)];
        Token& t = tokens[static_cast<size_t>(first + i)];
        const std::span<const float> have = logits.row<float>(i);
        t.loss = token_loss(have, next);
        if (!theirs) return;
        const std::span<const float> want = wanted.row<float>(i);
        t.reference_loss = token_loss(want, next);
        t.divergence = divergence(want, have);
        t.same_top = likeliest(want) == likeliest(have);
      });
    }
    if (done) done(end - begin);
  }
  return summed(tokens);
}

}  // namespace cria
