// The whole model in training on one rank.
#include "base/error.h"
#include "model/llama.h"
#include "model/stage.h"
#include "ops/device.h"

namespace cria {

struct Trainee::Impl {
  Impl(const LlamaConfig& config, const ParamArena& weights, DType compute,
       const RecomputePolicy& r, const ops::Exec& exec)
      : rope(config, exec.device),
        layers(weights),
        workspace(config, compute, exec.device),
        stage({.weights = weights,
               .layers = layers,
               .workspace = workspace,
               .rope = rope,
               .exec = exec,
               .tp = {},
               .recompute = r},
              {.first = 0, .count = config.num_hidden_layers}) {}

  RopeCache rope;
  LayerWeights layers;
  Workspace workspace;
  Stage stage;
};

Trainee::Trainee(const LlamaConfig& config, const ParamArena& weights, DType compute,
                 const RecomputePolicy& recompute, ops::Exec& exec)
    : impl_(std::make_unique<Impl>(config, weights, compute, recompute, exec)) {}
Trainee::~Trainee() = default;

void Trainee::forward(const Batch& batch, std::span<float> token_loss) {
  Stage& stage = impl_->stage;
  stage.prepare(0, batch, Keep::nothing);
  stage.forward(0, batch);
  stage.losses(0, batch, token_loss);
}

void Trainee::forward_backward(const Batch& batch, float scale, std::span<float> token_loss,
                               ParamArena& grads, bool first) {
  check(grads.dtype() == DType::f32, "gradients are f32");
  Stage& stage = impl_->stage;
  stage.prepare(0, batch, Keep::for_backward);
  stage.forward(0, batch);
  stage.gradient(0);
  stage.backward(0, batch, scale, token_loss, {grads, {}},
                 first ? ops::Into::write : ops::Into::add);
}

void Trainee::logits(const Batch& batch, View out) {
  Stage& stage = impl_->stage;
  stage.prepare(0, batch, Keep::nothing);
  stage.forward(0, batch);
  stage.logits(0, out);
}

size_t Trainee::activation_bytes() const {
  return impl_->workspace.size_bytes() + impl_->stage.size_bytes();
}

}  // namespace cria
