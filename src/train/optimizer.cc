#include "train/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "ops/adamw.h"
#include "ops/elementwise.h"
#include "ops/grad_norm.h"

namespace cria {

void parse_optimizer(std::string_view name, OptimizerSettings& settings) {
  constexpr std::array<std::pair<std::string_view, bool>, 6> names = {
      {{"AdamW", true},
       {"adamw", true},
       {"FP32StateAdamWeightDecay", false},
       {"AdamWeightDecay", false},
       {"FusedAdamWeightDecay", false},
       {"fp32_adamw", false}}};
  std::vector<std::string> known;
  for (const auto& [text, correction] : names) {
    if (text == name) {
      settings.bias_correction = correction;
      return;
    }
    known.emplace_back(text);
  }
  const auto guess = nearest(name, known);
  throw UsageError(fmt::format("optimizer: unknown type \"{}\"; try: {}", escaped(name),
                               guess ? *guess : "AdamW"));
}

TrainState::TrainState(const LlamaConfig& config, DType storage, bool master_weights,
                       const ModelPart& part, const OptimizerShard& cut, Memory* memory)
    : shard(cut),
      weights(config, storage, part, cut.of_weights(), memory),
      m(config, DType::f32, part, cut, memory),
      v(config, DType::f32, part, cut, memory) {
  if (master_weights && storage == DType::bf16) low.emplace(config, DType::i16, part, cut, memory);
  if (master_weights && storage == DType::f16)
    master.emplace(config, DType::f32, part, cut, memory);
}

void TrainState::start(ops::Exec& exec) {
  // A bf16 weight is its own master at first: the difference of the bits is 0, as the arena's memory already is.
  if (!master) return;
  for (int64_t i = 0; i < std::ssize(master->params()); ++i)
    ops::convert(rows_of_state(weights, i), (*master)[i], exec);
}

size_t TrainState::size_bytes() const {
  return weights.size_bytes() + (low ? low->size_bytes() : 0) +
         (master ? master->size_bytes() : 0) + m.size_bytes() + v.size_bytes();
}

void add_squared_gradients(const TrainState& state, const ParamArena& grads, const RankGrid& grid,
                           ExactSum& sum, ops::Exec& exec) {
  std::vector<ConstView> mine;
  for (int64_t i = 0; i < std::ssize(grads.params()); ++i) {
    const Param& p = state.m.params()[static_cast<size_t>(i)];
    const Param& held = grads.params()[static_cast<size_t>(i)];
    const bool same_on_tp = held.whole();  // nothing of it was cut for tensor parallelism
    const int copy = p.sharded ? grid.copy_index() : grid.dp_index();
    if (p.copy || (same_on_tp && grid.tp_index() != 0) || copy != 0) continue;
    mine.push_back(state.rows_of_state(grads, i));
  }
  ops::add_squared_norm(mine, sum, exec);
}

void optimizer_step(TrainState& state, const ParamArena& grads, const OptimizerSettings& settings,
                    double lr, double norm, double loss_scale, ops::Exec& exec) {
  const double clip =
      settings.max_grad_norm > 0 ? std::min(1.0, settings.max_grad_norm / (norm + 1e-6)) : 1.0;
  ++state.step;
  ops::AdamWStep step;
  step.lr = static_cast<float>(lr);
  step.beta1 = static_cast<float>(settings.beta1);
  step.beta2 = static_cast<float>(settings.beta2);
  step.eps = static_cast<float>(settings.eps);
  step.bias_correction = settings.bias_correction;
  step.step = state.step;
  step.grad_scale = static_cast<float>(clip / loss_scale);
  step.weight_decay = static_cast<float>(settings.weight_decay);
  const std::vector<Param>& params = state.weights.params();
  std::vector<ops::AdamWParam> all;
  all.reserve(params.size());
  for (size_t p = 0; p < params.size(); ++p) {
    const auto i = static_cast<int64_t>(p);
    ops::AdamWParam param{.weight = state.rows_of_state(state.weights, i),
                          .grad = state.rows_of_state(grads, i),
                          .m = state.m[i],
                          .v = state.v[i],
                          .decays = settings.decay_1d || params[p].decay};
    if (state.low) param.low = (*state.low)[i];
    if (state.master) param.master = (*state.master)[i];
    all.push_back(param);
  }
  ops::adamw(all, step, exec);
}

}  // namespace cria
