// The model of a run: its shape from the configuration and the weights together, its tokenizer, its memory.
#pragma once

#include <memory>
#include <optional>

#include "checkpoint/generation_weights.h"
#include "plan/host_memory.h"
#include "plan/report.h"
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

/// What decides a training run's memory and messages.
TrainingRun training_run(const RecipeSettings& settings, const LlamaConfig& config);
/// What a rank that generates or evaluates needs, as one line; throws Error(memory) when that is more than `available` bytes.
std::string check_inference_memory(const LlamaConfig& config, const RecipeSettings& settings,
                                   const ModelPart& part, const WeightForm& form, int64_t sequences,
                                   int64_t available);

}  // namespace cria::recipe
