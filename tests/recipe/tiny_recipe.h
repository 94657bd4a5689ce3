// A configuration of the recipe's form for a model of a few thousand parameters, and nine records for it.
#pragma once

#include <string>

#include "base/random.h"
#include "formats/mindrecord.h"

namespace cria::test {

inline constexpr const char* kTinyRecipe = R"(
seed: 3
runner_config: {epochs: 2, batch_size: 2, sink_mode: False}
optimizer: {type: AdamW, beta1: 0.9, beta2: 0.99, eps: 1.e-8}
lr_schedule: {type: CosineWithWarmUpLR, learning_rate: 1e-2, warmup_steps: 2}
train_dataset:
  data_loader: {type: MindDataset, dataset_dir: "", shuffle: True}
  input_columns: ["input_ids", "labels"]
eval_dataset:
  data_loader: {dataset_dir: "", shuffle: False}
  input_columns: ["input_ids", "labels"]
use_parallel: False
recompute_config: {recompute: True}
callbacks:
  - type: CheckpointMointor
    prefix: tiny
    save_checkpoint_steps: 2
    keep_checkpoint_max: 3
    checkpoint_format: ckpt
model:
  model_config:
    seq_length: 12
    hidden_size: 16
    num_layers: 2
    num_heads: 4
    n_kv_heads: 2
    intermediate_size: 24
    vocab_size: 40
    bos_token_id: 1
    eos_token_id: 2
    pad_token_id: 0
    compute_dtype: float32
    param_init_type: bfloat16
)";

/// Nine rows of 13 tokens: bos, then ids from 3 to 39; the first four untrained.
inline void write_tiny_records(const std::string& path) {
  MindRecordWriter writer(path, {"qa",
                                 {{"input_ids", MindRecordColumn::Type::int32, {-1}, true},
                                  {"labels", MindRecordColumn::Type::int32, {-1}, true}}});
  for (uint64_t row = 0; row < 9; ++row) {
    std::vector<int32_t> ids = {1}, labels = {-100};
    for (uint64_t t = 1; t < 13; ++t) {
      ids.push_back(static_cast<int32_t>(3 + random_bits(5, row, t) % 37));
      labels.push_back(t < 4 ? -100 : ids.back());
    }
    const std::span<const int32_t> columns[] = {ids, labels};
    writer.write_row(columns);
  }
  writer.commit();
}

}  // namespace cria::test
