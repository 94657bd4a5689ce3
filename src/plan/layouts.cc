#include "plan/layouts.h"

#include <algorithm>

#include "base/error.h"

namespace cria {
namespace {

/// What the slowest stage computes for a micro batch, in decoder layers.
double slowest_stage(const TrainingRun& run, double head_cost) {
  double slowest = 0;
  for (const int rank : telling_ranks(run)) {
    double cost = 0;
    for (const LayerRun& layers : RankShare(run, rank).runs)
      cost += static_cast<double>(layers.count) + (layers.head ? head_cost : 0);
    slowest = std::max(slowest, cost);
  }
  return slowest;
}

int64_t runs_per_stage(const TrainingRun& run) { return std::ssize(RankShare(run, 0).runs); }

/// Of all layers together: forward once and backward twice, and once more what is computed again.
double passes(const TrainingRun& run) {
  const RecomputePolicy recompute = RankShare(run, 0).recompute;
  const LlamaConfig& c = run.config;
  // gate and up beside all products of a layer.
  const int64_t heads = 2 * (c.num_attention_heads + c.num_key_value_heads);
  const double gate_up = 2 * static_cast<double>(c.intermediate_size) /
                         static_cast<double>(3 * c.intermediate_size + heads * c.head_dim);
  double again = 0;
  for (int64_t l = 0; l < c.num_hidden_layers; ++l) {
    const Recompute r = recompute.of(l);
    again += r == Recompute::full ? 1 : r == Recompute::gate_up ? gate_up : 0;
  }
  return 3 + again / static_cast<double>(c.num_hidden_layers);
}

/// The layout dp x tp x pp of the same samples per step; nothing where the rules forbid it.
std::optional<Layout> layout_of(TrainingRun run, const RankGrid& grid) {
  const int64_t samples = run.global_batch();
  const int shard = run.grid.shard;
  run.grid = grid;
  if (shard > 0 && grid.dp > 1) {  // groups of so many ranks are asked for
    if (grid.dp % shard != 0) return std::nullopt;
    run.grid.shard = shard;
  }
  if (samples % grid.dp != 0) return std::nullopt;
  // As many samples in a micro batch as before, fewer where the pipeline needs more of them.
  const int64_t of_rank = samples / grid.dp;
  while (run.batch_size > 1 &&
         (of_rank % run.batch_size != 0 || of_rank / run.batch_size < grid.pp))
    --run.batch_size;
  run.micro_batches = of_rank / run.batch_size;
  try {
    return measure_layout(run);
  } catch (const UsageError&) {  // the rules live in what the run itself calls
    return std::nullopt;
  }
}

std::string micro_batches_text(const TrainingRun& run) {
  return fmt::format("{} {}", run.grid.pp > 1 ? "micro_batch_num" : "gradient_accumulation_steps",
                     run.micro_batches);
}

using Edit = std::optional<Change> (*)(const TrainingRun& run, int64_t available);

std::optional<Change> changed(std::string text, TrainingRun run) {
  try {
    RankMemory memory = fullest_rank(run);
    return Change{std::move(text), std::move(run), std::move(memory)};
  } catch (const UsageError&) {
    return std::nullopt;
  }
}

std::optional<Change> shard_optimizer(const TrainingRun& run, int64_t /*available*/) {
  if (run.grid.dp == 1 || run.optimizer_shard) return std::nullopt;
  TrainingRun other = run;
  other.optimizer_shard = true;
  return changed("parallel.enable_parallel_optimizer True", std::move(other));
}
std::optional<Change> cut_over_all(const TrainingRun& run, int64_t /*available*/) {
  if (!run.optimizer_shard || run.grid.shard_size() == run.grid.dp) return std::nullopt;
  TrainingRun other = run;
  other.grid.shard = 0;
  return changed("parallel.parallel_optimizer_config.optimizer_weight_shard_size -1",
                 std::move(other));
}
std::optional<Change> cut_more(const TrainingRun& run, int zero, std::string_view text) {
  if (run.grid.dp == 1 || !run.optimizer_shard || run.zero >= zero) return std::nullopt;
  TrainingRun other = run;
  other.zero = zero;
  return changed(std::string(text), std::move(other));
}
std::optional<Change> cut_gradients(const TrainingRun& run, int64_t /*available*/) {
  return cut_more(run, 2, "parallel.parallel_optimizer_config.gradient_accumulation_shard True");
}
std::optional<Change> cut_weights(const TrainingRun& run, int64_t /*available*/) {
  return cut_more(run, 3, "recompute_config.parallel_optimizer_comm_recompute True");
}
std::optional<Change> scatter_stream(const TrainingRun& run, int64_t /*available*/) {
  if (run.grid.tp == 1 || run.sequence_parallel) return std::nullopt;
  TrainingRun other = run;
  other.sequence_parallel = true;
  return changed("parallel_config.use_seq_parallel True", std::move(other));
}
std::optional<Change> split_tables(const TrainingRun& run, int64_t /*available*/) {
  const bool split = run.vocab_split || (run.stages_split_vocab && run.grid.pp > 1);
  if (run.grid.tp == 1 || split || run.config.vocab_size % run.grid.tp != 0) return std::nullopt;
  TrainingRun other = run;
  other.vocab_split = true;
  return changed("parallel_config.vocab_emb_dp False", std::move(other));
}
/// The largest that fits, else the smallest.
std::optional<Change> smaller_batches(const TrainingRun& run, int64_t available) {
  std::optional<Change> best;
  for (int64_t size = run.batch_size - 1; size >= 1; --size) {
    if (run.batch_size % size != 0) continue;
    TrainingRun other = run;
    other.batch_size = size;
    other.micro_batches = run.micro_batches * (run.batch_size / size);
    std::string text = fmt::format("batch_size {} with {}", size, micro_batches_text(other));
    best = changed(std::move(text), std::move(other));
    if (best && fits(best->memory.total(), available)) break;
  }
  return best;
}
std::optional<Change> recompute_with(const TrainingRun& run, Recompute least,
                                     std::string_view text) {
  const RecomputePolicy now = RankShare(run, 0).recompute;
  bool any = false;
  std::vector<Recompute> layers = now.of_run(0, run.config.num_hidden_layers);
  for (Recompute& r : layers) {
    any |= r < least;
    r = std::max(r, least);
  }
  if (!any) return std::nullopt;
  TrainingRun other = run;
  other.recompute = [policy = RecomputePolicy(layers)](const StageRuns&) { return policy; };
  return changed(std::string(text), std::move(other));
}
std::optional<Change> recompute_gate_up(const TrainingRun& run, int64_t /*available*/) {
  return recompute_with(run, Recompute::gate_up, "recompute_config.recompute_gate_up True");
}
std::optional<Change> recompute_all(const TrainingRun& run, int64_t /*available*/) {
  return recompute_with(run, Recompute::full, "recompute_config.recompute True");
}
constexpr Edit kEdits[] = {shard_optimizer,   cut_over_all,  scatter_stream,
                           split_tables,      cut_gradients, smaller_batches,
                           recompute_gate_up, recompute_all, cut_weights};

/// What makes `run` of `before`.
std::string layout_text(const TrainingRun& run, const TrainingRun& before) {
  std::string text = fmt::format("data_parallel {}, model_parallel {}, pipeline_stage {}",
                                 run.grid.dp, run.grid.tp, run.grid.pp);
  if (run.grid.pp > 1 && run.grid.pp != before.grid.pp) text += ", stage_balance cost";
  if (run.batch_size != before.batch_size) text += fmt::format(", batch_size {}", run.batch_size);
  if (run.micro_batches > 1) text += ", " + micro_batches_text(run);
  return text;
}

/// Another division, first over the same ranks, then over more; `with` is what was changed already.
std::optional<Change> other_layout(const TrainingRun& run, const std::string& with,
                                   int64_t available, int most_ranks) {
  for (int ranks = run.ranks(); ranks <= most_ranks; ranks *= 2) {
    const std::vector<Layout> layouts = propose_layouts(run, ranks, available);
    if (layouts.empty() || !fits(layouts[0].memory.total(), available)) continue;
    const Layout& best = layouts[0];
    std::string text = layout_text(best.run, run);
    if (ranks > run.ranks()) text = fmt::format("{} ranks: {}", ranks, text);
    if (!with.empty()) text += " and " + with;
    return Change{text, best.run, best.memory};
  }
  return std::nullopt;
}

}  // namespace

Layout measure_layout(const TrainingRun& run) {
  Layout layout{.run = run, .memory = fullest_rank(run)};
  for (const int rank : telling_ranks(run))
    layout.sent_bytes = std::max(layout.sent_bytes, step_traffic(run, rank).total());
  const auto micros = static_cast<double>(run.micro_batches);
  // Filling and emptying takes stages - 1 micro batches through one of a stage's runs of layers.
  const double waiting =
      static_cast<double>(run.grid.pp - 1) / static_cast<double>(runs_per_stage(run));
  layout.bubble = waiting / (micros + waiting);
  const double head = head_cost_in_layers(run.config, run.seq_length);
  const double all = static_cast<double>(run.config.num_hidden_layers) + head;
  const double flops = passes(run) * forward_flops_per_token(run.config, run.seq_length) *
                       static_cast<double>(run.tokens()) / run.grid.tp;
  layout.time = (micros + waiting) * flops * slowest_stage(run, head) / all +
                kFlopsPerByte * static_cast<double>(layout.sent_bytes);
  return layout;
}

std::vector<Layout> propose_layouts(const TrainingRun& run, int ranks, int64_t available) {
  std::vector<Layout> layouts;
  for (int dp = 1; dp <= ranks; ++dp) {
    if (ranks % dp != 0) continue;
    for (int tp = 1; tp <= ranks / dp; ++tp) {
      if (ranks / dp % tp != 0) continue;
      const RankGrid grid{.dp = dp, .tp = tp, .pp = ranks / dp / tp};
      if (auto layout = layout_of(run, grid)) layouts.push_back(std::move(*layout));
    }
  }
  std::ranges::stable_sort(layouts, [&](const Layout& a, const Layout& b) {
    const bool a_fits = fits(a.memory.total(), available),
               b_fits = fits(b.memory.total(), available);
    if (a_fits != b_fits) return a_fits;
    return a_fits ? a.time < b.time : a.memory.total() < b.memory.total();
  });
  return layouts;
}

std::optional<Change> cheapest_change(const TrainingRun& run, int64_t available) {
  const auto good = [&](const std::optional<Change>& c) {
    return c && fits(c->memory.total(), available);
  };
  for (const Edit edit : kEdits)
    if (auto change = edit(run, available); good(change)) return change;
  // One after the other, until it fits.
  TrainingRun all = run;
  std::string texts;
  for (const Edit edit : kEdits) {
    if (edit == recompute_gate_up) continue;  // recompute_all includes it
    auto change = edit(all, available);
    if (!change) continue;
    texts += (texts.empty() ? "" : " and ") + change->text;
    change->text = texts;
    if (good(change)) return change;
    all = change->run;
  }
  constexpr int kMostRanks = 1 << 16;
  if (auto change = other_layout(run, "", available, run.ranks())) return change;
  return other_layout(all, texts, available, kMostRanks);
}

}  // namespace cria
