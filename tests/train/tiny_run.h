// A whole training run of a tiny random model on samples of its own, with a place to disturb it before any step.
#pragma once

#include <cstring>
#include <functional>
#include <memory>

#include "base/error.h"
#include "base/random.h"
#include "base/temporary_folder.h"
#include "ops/device.h"
#include "train/trainer.h"

namespace cria::test {

inline LlamaConfig tiny_config() {
  LlamaConfig c;
  c.hidden_size = 16;
  c.intermediate_size = 24;
  c.num_hidden_layers = 1;
  c.num_attention_heads = 2;
  c.num_key_value_heads = 1;
  c.head_dim = 8;
  c.vocab_size = 31;
  c.max_position_embeddings = 32;
  return c;
}

/// Samples that are a pure function of epoch and position. `before_fill` is called with the number of fills so far.
class RandomSamples : public SampleSource {
 public:
  explicit RandomSamples(int64_t samples) : samples_(samples) {}
  [[nodiscard]] int64_t samples_per_epoch() const override { return samples_; }
  void fill(int64_t epoch, int64_t position, int64_t count, Samples& out) override {
    if (before_fill) before_fill(fills_++);
    out.clear();
    for (int64_t s = position; s < position + count; ++s) {
      std::vector<int32_t> ids, targets;
      for (uint64_t t = 0; t < 9; ++t) {
        const uint64_t bits =
            random_bits(static_cast<uint64_t>(epoch), static_cast<uint64_t>(s), t);
        ids.push_back(static_cast<int32_t>(bits % 31));
        targets.push_back(t < 3 ? -100 : static_cast<int32_t>(bits / 31 % 31));
      }
      out.add(ids, targets);
    }
  }
  [[nodiscard]] std::string fingerprint() const override { return name; }

  std::function<void(int64_t fills)> before_fill;
  std::string name = "random samples";

 private:
  int64_t samples_, fills_ = 0;
};

class StepList : public Reporter {
 public:
  std::vector<StepReport> steps;
  void step(const StepReport& step) override { steps.push_back(step); }
};

/// Twelve samples, two to a step: six steps an epoch. Change the public members, then train().
struct TinyRun {
  /// On the processor, or with all matrices on a device.
  explicit TinyRun(DType storage = DType::f32, ops::Device* device = nullptr)
      : exec{.pool = pool, .device = device},
        state(config, storage, settings.optimizer.master_weights, whole_model(config), {}, device) {
    settings.epochs = 2;
    settings.batch_size = 2;
    settings.compute = storage;
    settings.schedule.kind = Schedule::Kind::constant;
    settings.schedule.lr = 1e-2;
    ParamArena first(config, storage);
    init_parameters(first, 1, pool);
    state.weights.assign(first);
    state.start(exec);
  }
  TrainResult train(bool resume = false) {
    Trainer trainer(config, state, settings, samples, exec, log);
    if (resume && !trainer.resume()) throw MismatchError("nothing to resume");
    return trainer.run();
  }
  /// Every byte that the next step depends on.
  [[nodiscard]] std::string bits() const {
    std::string all;
    const auto add = [&](const ParamArena& arena) {
      const ParamArena here = arena.copy_to(nullptr);
      all.append(static_cast<const char*>(here.all().data), here.size_bytes());
    };
    for (const ParamArena* arena : {&state.weights, &state.m, &state.v}) add(*arena);
    if (state.low) add(*state.low);
    if (state.master) add(*state.master);
    return all + std::to_string(state.step);
  }

  LlamaConfig config = tiny_config();
  TrainSettings settings;
  ThreadPool pool{2};
  ops::Exec exec;
  TrainState state;
  RandomSamples samples{12};
  StepList log;
};

}  // namespace cria::test
