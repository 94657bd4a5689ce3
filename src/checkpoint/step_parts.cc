#include "checkpoint/step_parts.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "checkpoint/names.h"
#include "checkpoint/train_checkpoint.h"
#include "model/params.h"

namespace cria {
namespace {

constexpr const char* kConfig = "config.json";

Rect rect_of(const Part& part) { return cria::rect_of(part.begin, part.size); }

/// A count of the trainer's; nothing where there is none.
std::optional<int64_t> count_of(const Json& state, const char* key, const std::string& path) {
  const auto found = state.find(key);
  if (found == state.end()) return std::nullopt;
  require<FormatError>(found->is_number_integer() && found->get<int64_t>() >= 0,
                       "checkpoint: {}: {} is {}, expected a count", path, key,
                       escaped(found->dump(), 40));
  return found->get<int64_t>();
}

}  // namespace

std::vector<std::string> steps_to_transform(const std::string& path) {
  if (is_file(join_path(path, "manifest.json"))) return {path};
  std::vector<std::string> folders;
  const std::vector<int64_t> steps = checkpoint_steps(path);
  for (size_t i = steps.size(); i-- > 0;) folders.push_back(checkpoint_folder(path, steps[i]));
  return folders;
}

LlamaConfig config_of_step(const CheckpointFiles& step) {
  require<FormatError>(step.manifest().files.contains(kConfig),
                       "checkpoint: {}: its manifest lists no {}", step.folder(), kConfig);
  step.verify_other_files();
  const std::string path = join_path(step.folder(), kConfig);
  return parse_hf_config(read_text(path), path);
}

const StoredTensor& tensor_of_step(const CheckpointFiles& step, const std::string& group,
                                   const Param& p) {
  const StoredGroup& tensors = step.manifest().groups.at(group);
  const auto found = tensors.find(p.name);
  require<MismatchError>(found != tensors.end(),
                         "transform: {}: no tensor \"{}{}\", which its config expects",
                         step.folder(), name_prefix(group), p.name);
  require<MismatchError>(found->second.shape == p.shape,
                         "transform: {}: \"{}{}\" is [{}], by its config [{}]", step.folder(),
                         name_prefix(group), p.name, fmt::join(found->second.shape, ", "),
                         fmt::join(p.shape, ", "));
  return found->second;
}

StepParts::StepParts(const CheckpointFiles& step) : step_(step) {
  const LlamaConfig config = config_of_step(step);
  const auto& groups = step.manifest().groups;
  require<MismatchError>(groups.contains("weights"), "transform: {}: it holds no weights",
                         step.folder());
  for (const char* group : {"weights", "adam_m", "adam_v"})
    if (groups.contains(group)) add_group(group, config);
  add_scalars();
}

void StepParts::add_group(const std::string& group, const LlamaConfig& config) {
  const std::string prefix = name_prefix(group);
  const auto add = [&](const Param& p, const std::string& name) {
    const StoredTensor& stored = tensor_of_step(step_, group, p);
    tensors_.push_back({{prefix + name, stored.dtype, stored.shape}, true});
    stored_.emplace_back(prefix + p.name, &stored);
  };
  const std::vector<Param> params = llama_params(config);
  for (const Param& p : params) add(p, to_dialect(Dialect::mindformers, p.name));
  if (config.tie_word_embeddings)
    add(params[0], to_dialect(Dialect::mindformers, "lm_head.weight"));
}

void StepParts::add_scalars() {
  const std::string path = join_path(step_.folder(), "manifest.json");
  const Json state = parse_json(step_.manifest().state_json, "checkpoint state", path);
  const auto batches = count_of(state, "batches_done", path);
  const auto epoch_steps = count_of(state, "steps_per_epoch", path);
  if (batches && epoch_steps && *batches > 0 && *epoch_steps > 0)
    scalars_.push_back({"epoch_num", (*batches - 1) / *epoch_steps + 1});
  if (batches) scalars_.push_back({"step_num", *batches});
  if (const auto updates = count_of(state, "updates", path))
    scalars_.push_back({"global_step", *updates});
  const Json scale = state.value("loss_scale", Json::object());
  if (scale.is_object() && scale.contains("scale") && scale["scale"].is_number())
    scalars_.push_back({"loss_scale", static_cast<float>(scale["scale"].get<double>())});
}

void StepParts::read(size_t index, const Part& part, std::span<std::byte> out) const {
  const auto& [name, stored] = stored_[index];
  step_.read_box(name, *stored, rect_of(part), out);
}

}  // namespace cria
