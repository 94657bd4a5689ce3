// One training step of a small model in any layout, planned and then made by threads.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "plan/training_run.h"
#include "train/trainer.h"

namespace cria::test {

/// Of what a rank does, what a plan speaks of.
struct Measured {
  int64_t state = 0;                    // bytes of weights, masters and moments
  int64_t training = 0;                 // bytes of gradients and activations
  std::map<std::string, int64_t> sent;  // bytes by group
};

inline LlamaConfig small_config(bool tied = false) {
  LlamaConfig c;
  c.hidden_size = 64;
  c.intermediate_size = 96;
  c.num_hidden_layers = 4;
  c.num_attention_heads = 8;
  c.num_key_value_heads = 4;
  c.head_dim = 8;
  c.vocab_size = 1000;
  c.max_position_embeddings = 64;
  c.tie_word_embeddings = tied;
  return c;
}

/// A step of two samples of 24 tokens in a micro batch, all in f32, the optimizer's shards of any size.
inline TrainingRun small_run(int dp, int tp, int pp) {
  TrainingRun run;
  run.config = small_config();
  run.storage = run.compute = DType::f32;
  run.seq_length = 24;
  run.batch_size = 2;
  run.micro_batches = pp > 1 ? pp : 1;
  run.grid = {.dp = dp, .tp = tp, .pp = pp};
  run.shard_threshold_bytes = 1 << 10;
  return run;
}

inline void recompute(TrainingRun& run, const RecomputePolicy& policy) {
  run.recompute = [policy](const StageRuns&) { return policy; };
}
/// One of each kind.
inline RecomputePolicy mixed_policy() {
  return RecomputePolicy({Recompute::full, Recompute::none, Recompute::gate_up, Recompute::none});
}

/// So many tokens of each sample are trained.
class SmallSamples : public SampleSource {
 public:
  explicit SmallSamples(const TrainingRun& run)
      : length_(run.seq_length),
        trained_(run.trained_tokens > 0 ? run.trained_tokens / run.batch_size : run.seq_length) {}
  [[nodiscard]] int64_t samples_per_epoch() const override { return 1 << 20; }
  void fill(int64_t /*epoch*/, int64_t position, int64_t count, Samples& out) override {
    out.clear();
    for (int64_t s = position; s < position + count; ++s) {
      std::vector<int32_t> ids, targets;
      for (int64_t t = 0; t < length_; ++t) {
        const uint64_t bits = random_bits(3, static_cast<uint64_t>(s), static_cast<uint64_t>(t));
        ids.push_back(static_cast<int32_t>(bits % 1000));
        targets.push_back(t < trained_ ? static_cast<int32_t>(bits / 1000 % 1000) : -100);
      }
      out.add(ids, targets);
    }
  }
  [[nodiscard]] std::string fingerprint() const override { return "small"; }

 private:
  int64_t length_, trained_;
};

/// One rank's step.
inline Measured measure_rank(const TrainingRun& run, Transport& transport) {
  const RankGrid grid = make_grid(run.grid.dp, run.grid.tp, run.grid.pp, transport.size(),
                                  transport.rank(), run.grid.shard);
  Groups groups(transport, grid);
  const RankShare share(run, grid.rank);
  TrainState state(run.config, run.storage, run.master_weights, share.part, share.shard);
  ThreadPool pool(1);
  ops::Exec exec{pool};
  init_parameters(state.weights, 1, pool);
  state.start(exec);
  TrainSettings settings;
  settings.batch_size = run.batch_size;
  settings.gradient_accumulation_steps = run.micro_batches;
  settings.pipeline = share.pipeline;
  settings.compute = run.compute;
  settings.recompute = share.recompute;
  settings.max_steps = 1;
  settings.check_replicas_every = 0;
  settings.save_at_end = false;
  SmallSamples samples(run);
  Reporter reporter;
  Trainer trainer(state, settings, samples, groups, exec, reporter);
  trainer.run();
  Measured m;
  m.state = static_cast<int64_t>(state.size_bytes());
  m.training = static_cast<int64_t>(trainer.size_bytes());
  m.sent = {{"world", groups.world.bytes_sent()},
            {"tp", groups.tp.bytes_sent()},
            {"dp", groups.dp.bytes_sent()},
            {"dp shard", groups.shard.bytes_sent()},
            {"dp copies", groups.copies.bytes_sent()},
            {"dp copy gathers", groups.copy_gathers.bytes_sent()},
            {"dp sums", groups.dp_sums.bytes_sent()},
            {"dp gathers", groups.dp_gathers.bytes_sent()},
            {"pp", groups.pp.bytes_sent()},
            {"pp forward", groups.pp_forward.bytes_sent()},
            {"pp backward", groups.pp_backward.bytes_sent()}};
  return m;
}

/// What each rank measures in one step.
inline std::vector<Measured> measure(const TrainingRun& run) {
  std::vector<Measured> all(static_cast<size_t>(run.ranks()));
  run_as_threads(run.ranks(), [&](Transport& transport) {
    all[static_cast<size_t>(transport.rank())] = measure_rank(run, transport);
  });
  return all;
}

}  // namespace cria::test
