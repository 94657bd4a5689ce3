// A training checkpoint as a transform sees it: the parameters of the recipe's network and both their moments.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint_files.h"
#include "checkpoint/part_reader.h"
#include "model/params.h"

namespace cria {

/// The step folder at `path`, or those of a root, newest first; none when it is neither.
std::vector<std::string> steps_to_transform(const std::string& path);
/// What config.json of the step says. Throws FormatError, also where it is damaged.
LlamaConfig config_of_step(const CheckpointFiles& step);

/// A parameter of a group that the step has. Throws MismatchError when it is missing or has another shape.
const StoredTensor& tensor_of_step(const CheckpointFiles& step, const std::string& group,
                                   const Param& param);

/// Names, order and scalars are those of the .ckpt file that a training run of one rank writes with `checkpoint_format: ckpt`:
/// weights, `adam_m.`, `adam_v.`; then `epoch_num`, `step_num`, `global_step`, `loss_scale`. A tied model's table is there as
/// the head once more, because MindFormers has no tied models. Masters have no place in such files and are left out; `epoch_num`
/// is left out where the checkpoint does not say how many steps an epoch has. The sum of a 4 MiB block is compared before a byte of
/// it is used.
class StepParts : public PartReader {
 public:
  /// `step` outlives the object. Throws FormatError, and MismatchError when its tensors are not those of its config.
  explicit StepParts(const CheckpointFiles& step);
  void read(size_t index, const Part& part, std::span<std::byte> out) const override;

 private:
  void add_group(const std::string& group, const LlamaConfig& config);
  void add_scalars();
  const CheckpointFiles& step_;
  std::vector<std::pair<std::string, const StoredTensor*>> stored_;  // name in the files
};

}  // namespace cria
