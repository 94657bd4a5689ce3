#include "train/pipeline.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "ops/device.h"
#include "ops/elementwise.h"

namespace cria {
ModelPart part_of(const LlamaConfig& config, const RankGrid& grid,
                  const PipelineSettings& settings) {
  ModelPart part = whole_model(config);
  part.tp = grid.tp;
  part.tp_index = grid.tp_index();
  part.vocab_split = settings.vocab_split && grid.tp > 1;
  if (!settings.runs.empty()) {
    check(std::ssize(settings.runs) == grid.pp, "there are runs for every stage");
    part.layers.clear();
    part.embedding = part.head = false;
    for (const LayerRun& run : settings.runs[static_cast<size_t>(grid.stage())]) {
      for (int64_t l = 0; l < run.count; ++l) part.layers.push_back(run.first + l);
      part.embedding |= run.embedding;
      part.head |= run.head;
    }
  }
  check_split(config, part);
  return part;
}

/// A slot of a chunk: which micro batch is in it, and its output on the way to the next stage.
struct Pipeline::UnderWay {
  int64_t micro = -1;
  std::optional<Comm::Pending> output;
};

struct Pipeline::Chunk {
  Chunk(const Stage::Shared& shared, const LayerRun& run) : stage(shared, run) {}
  Stage stage;
  std::deque<UnderWay> slots;
  /// The input's gradient on the way to the stage before.
  Tensor gradient;
  std::optional<Comm::Pending> gradient_out;
};

Pipeline::Pipeline(const ParamArena& weights, const PipelineSettings& settings, DType compute,
                   const RecomputePolicy& recompute, Groups& groups, const ops::Exec& exec)
    : groups_(groups),
      exec_(exec),
      rope_(weights.config(), exec.device),
      layers_(weights, &groups.shard),
      workspace_(local_config(weights.config(), weights.part()), compute, exec.device) {
  check(groups.world.alone() || groups.shared.settings.memory == exec.device,
        "messages between ranks lie where their matrices do");
  const Stage::Shared shared{.weights = weights,
                             .layers = layers_,
                             .workspace = workspace_,
                             .rope = rope_,
                             .exec = exec,
                             .tp = {&groups.tp, settings.sequence_parallel},
                             .recompute = recompute};
  std::vector<LayerRun> runs = {{.first = 0, .count = weights.config().num_hidden_layers}};
  if (!settings.runs.empty()) runs = settings.runs[static_cast<size_t>(groups.grid.stage())];
  for (const LayerRun& run : runs) chunks_.push_back(std::make_unique<Chunk>(shared, run));
}
Pipeline::~Pipeline() = default;

size_t Pipeline::free_slot(Chunk& chunk) const {
  for (size_t i = 0; i < chunk.slots.size(); ++i)
    if (chunk.slots[i].micro < 0) return i;
  chunk.slots.emplace_back();
  return chunk.slots.size() - 1;
}

void Pipeline::forward(Chunk& chunk, int64_t micro, const Samples& samples, Keep keep) {
  const int stages = groups_.grid.pp, stage = groups_.grid.stage();
  const size_t i = free_slot(chunk);
  UnderWay& slot = chunk.slots[i];
  slot.output.reset();  // waits until the last one has left
  slot.micro = micro;
  const Batch batch = samples.batch();
  const View in = chunk.stage.prepare(i, batch, keep);
  if (!chunk.stage.run().embedding)
    groups_.pp_forward.receive(bytes_of(in), (stage + stages - 1) % stages);
  chunk.stage.forward(i, batch);
  if (!chunk.stage.run().head) {
    slot.output.emplace(
        groups_.pp_forward.send(bytes_of(chunk.stage.output(i)), (stage + 1) % stages));
  }
}

void Pipeline::backward(Chunk& chunk, int64_t micro, const Samples& samples, float scale,
                        const StageGradients& grads, const Losses& losses) {
  const int stages = groups_.grid.pp, stage = groups_.grid.stage();
  const auto slot = std::ranges::find(chunk.slots, micro, &UnderWay::micro);
  check(slot != chunk.slots.end(), "a micro batch goes back only after it went forward");
  const auto i = static_cast<size_t>(slot - chunk.slots.begin());
  const View dx = chunk.stage.gradient(i);
  if (!chunk.stage.run().head) groups_.pp_backward.receive(bytes_of(dx), (stage + 1) % stages);
  token_loss_.resize(static_cast<size_t>(samples.tokens()));
  const View d_in = chunk.stage.backward(i, samples.batch(), scale, token_loss_, grads,
                                         micro == 0 ? ops::Into::write : ops::Into::add);
  if (chunk.stage.run().head) losses(micro, token_loss_);
  slot->micro = -1;
  if (chunk.stage.run().embedding) return;
  chunk.gradient_out.reset();
  if (chunk.gradient.rows() < d_in.rows)
    chunk.gradient = Tensor(d_in.dtype, d_in.rows, d_in.cols, exec_.device);
  const View out = chunk.gradient.view().row_range(0, d_in.rows);
  ops::convert(d_in, out, exec_);
  chunk.gradient_out.emplace(
      groups_.pp_backward.send(bytes_of(out), (stage + stages - 1) % stages));
}

void Pipeline::train(std::span<const Samples> micros, std::span<const float> scales,
                     const StageGradients& grads, const Losses& losses) {
  check(scales.size() == micros.size(), "every micro batch has a scale");
  const auto count = std::ssize(micros);
  const RankGrid& grid = groups_.grid;
  const std::vector<PipelineStep> schedule =
      schedule_interleaved(grid.pp, grid.stage(), static_cast<int>(chunks_.size()), count);
  for (const PipelineStep& step : schedule) {
    Chunk& chunk = *chunks_[static_cast<size_t>(step.chunk)];
    const Samples& samples = micros[static_cast<size_t>(step.micro)];
    if (step.backward) {
      backward(chunk, step.micro, samples, scales[static_cast<size_t>(step.micro)], grads, losses);
    } else {
      forward(chunk, step.micro, samples, Keep::for_backward);
    }
  }
}

void Pipeline::evaluate(std::span<const Samples> micros, const Losses& losses) {
  for (size_t m = 0; m < micros.size(); ++m) {
    for (const auto& chunk : chunks_) {
      forward(*chunk, static_cast<int64_t>(m), micros[m], Keep::nothing);
      UnderWay& slot = *std::ranges::find(chunk->slots, static_cast<int64_t>(m), &UnderWay::micro);
      if (chunk->stage.run().head) {
        token_loss_.resize(static_cast<size_t>(micros[m].tokens()));
        chunk->stage.losses(static_cast<size_t>(0), micros[m].batch(), token_loss_);
        losses(static_cast<int64_t>(m), token_loss_);
      }
      slot.output.reset();
      slot.micro = -1;
    }
  }
}

size_t Pipeline::activation_bytes() const {
  size_t bytes = workspace_.size_bytes() + layers_.size_bytes();
  for (const auto& chunk : chunks_)
    bytes += chunk->stage.size_bytes() + chunk->gradient.size_bytes();
  return bytes;
}

}  // namespace cria
