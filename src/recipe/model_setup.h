// The model of a run: its shape from the configuration and the weights together, its tokenizer, its memory.
#pragma once

#include <memory>
#include <optional>

#include "checkpoint/weight_source.h"
#include "recipe/settings.h"
#include "tokenizer/tokenizer.h"

namespace cria::recipe {

/// The weights of load_checkpoint; nothing when that is empty. A .ckpt takes its shape from the configuration. Slices of several
/// ranks (`rank_N/*.ckpt`) are read as src_strategy says; without it those of more than one
/// rank must be of the run's own layout. Throws as
/// WeightSource does, and MismatchError when weights and strategy do not belong together.
std::optional<WeightSource> open_weights(const RecipeSettings& settings);

/// Keys that the configuration gives must agree with the weights' own (MismatchError naming field and both values); keys it
/// lacks are the weights'; without weights of their own shape they have the recipe's class defaults. The context is at least
/// seq_length. Token ids are the configuration's where given.
LlamaConfig model_config(const RecipeSettings& settings, const WeightSource* weights);

/// From vocab_file, else from what lies inside or beside the weights; nothing when there is none. The placeholder of the
/// shipped files counts as not given.
std::unique_ptr<Tokenizer> open_tokenizer(const RecipeSettings& settings,
                                          const WeightSource* weights);
/// vocab_file when it really names a file.
std::string given_vocab_file(const RecipeSettings& settings);

struct MemoryItem {
  std::string name;
  double bytes;
};
/// What a training rank will need: weights, exact master, gradients, moments, activations of its micro batches under way.
std::vector<MemoryItem> training_memory(const LlamaConfig& config, const RecipeSettings& settings,
                                        const ModelPart& part, const OptimizerShard& shard);
/// What a rank that generates or evaluates will need.
std::vector<MemoryItem> inference_memory(const LlamaConfig& config, const RecipeSettings& settings,
                                         const ModelPart& part, int64_t sequences);
/// What this process may still take: the control group's limit or MemAvailable, whichever is less. 0: unknown.
double available_memory();
/// The estimate as one line; throws Error(memory) with the three largest items when it is over 95 % of `available`.
std::string check_memory(std::vector<MemoryItem> items, double available);

}  // namespace cria::recipe
