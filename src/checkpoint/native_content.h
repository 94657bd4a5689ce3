// Everything that a training checkpoint holds, and how its bytes are read: what one is cut from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_files.h"
#include "checkpoint/part_reader.h"
#include "model/config.h"

namespace cria {

struct NativeTensor {
  std::string group, name;  // Hugging Face's name
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  ReadPart read;
};

struct NativeContent {
  int64_t step = 0;
  std::string config_json;
  std::string state_json;
  /// Each group in the table's order.
  std::vector<NativeTensor> tensors;
};

/// All of a step, which outlives the result: every group, its config.json and its state as they are. Throws FormatError, and
/// MismatchError when its tensors are not those of its config.
NativeContent content_of_step(const CheckpointFiles& step);

/// The recipe's .ckpt with the optimizer's state: weights, `adam_m.`, `adam_v.`, `step_num` and `global_step`. `source` outlives
/// the result; `path` is for messages.
///
/// What such files do not hold is as at the start of a run: masters of 16-bit weights equal them. The state says that nothing is
/// known about data and seed (docs/formats/checkpoint.md, `data`). Throws MismatchError when a parameter or a moment is missing
/// or does not fit the config, weights have several types, moments are not f32, or a tied model's head is not its table.
NativeContent content_of_ckpt(const PartReader& source, const LlamaConfig& config,
                              const std::string& path);

}  // namespace cria
