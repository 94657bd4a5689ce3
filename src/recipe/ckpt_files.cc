#include "recipe/ckpt_files.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/side_manifest.h"
#include "checkpoint/convert.h"
#include "checkpoint/manifest.h"
#include "formats/mindspore_ckpt.h"

namespace cria::recipe {
namespace {

constexpr std::string_view kNote = ".cria.json";  // appended to the network file's name

std::span<const std::byte> bytes_of_param(const ParamArena& arena, int64_t i) {
  const ConstView v = arena[i];
  return {static_cast<const std::byte*>(v.data),
          static_cast<size_t>(bytes_of(v.dtype, v.elements()))};
}

// The head of a tied model is written as a copy of the embedding: MindFormers has no tied models.
std::vector<std::pair<std::string, int64_t>> named_parameters(const ParamArena& arena) {
  std::vector<std::pair<std::string, int64_t>> names;
  for (int64_t i = 0; i < std::ssize(arena.params()); ++i)
    names.emplace_back(
        to_dialect(Dialect::mindformers, arena.params()[static_cast<size_t>(i)].name), i);
  if (arena.index().tied) names.emplace_back("lm_head.weight", arena.index().embed_tokens());
  return names;
}

// (epoch, step) of `<prefix>_rank_0-<epoch>_<step>.ckpt`.
std::optional<std::pair<int64_t, int64_t>> numbers_of(const std::string& name,
                                                      const std::string& prefix) {
  static const std::regex pattern(R"(^_rank_0-(\d{1,15})_(\d{1,15})\.ckpt$)");
  std::smatch m;
  if (!name.starts_with(prefix)) return std::nullopt;
  const std::string rest = name.substr(prefix.size());
  if (!std::regex_match(rest, m, pattern)) return std::nullopt;
  return std::pair(static_cast<int64_t>(std::stoll(m[1])), static_cast<int64_t>(std::stoll(m[2])));
}

bool prefix_in_use(const std::string& folder, const std::string& prefix) {
  if (!is_folder(folder)) return false;
  return std::ranges::any_of(list_files(folder), [&](const std::string& name) {
    return numbers_of(name, prefix).has_value();
  });
}

// `native` is 0, `native_3` is 3.
int64_t number_of_run(const std::string& native) {
  const std::string name = base_name(native);
  const size_t bar = name.rfind('_');
  return bar == std::string::npos ? 0 : std::stoll(name.substr(bar + 1));
}

void remove_half_written(const std::string& folder, const std::string& begin) {
  for (const std::string& name : list_files(folder)) {
    if (!name.starts_with(begin) || name.find(".part-") == std::string::npos) continue;
    std::error_code gone;
    std::filesystem::remove(join_path(folder, name), gone);
  }
}

}  // namespace

OutputFolders::OutputFolders(const RecipeSettings& s) {
  const char* given = std::getenv("LOCAL_DEFAULT_PATH");
  root = given != nullptr && *given != '\0' ? given : s.output_dir;
  checkpoint = s.save.directory.empty() ? join_path(root, "checkpoint/rank_0") : s.save.directory;
  network = join_path(root, "checkpoint_network/rank_0");
  const char* logs = std::getenv("LOG_MF_PATH");
  log = join_path(logs != nullptr && *logs != '\0' ? logs : join_path(root, "log"), "rank_0");
}

std::string OutputFolders::native(bool resume) const {
  std::string last = join_path(checkpoint, "native");
  for (int i = 0;; ++i) {
    const std::string folder =
        join_path(checkpoint, i == 0 ? "native" : fmt::format("native_{}", i));
    if (!is_folder(folder) || checkpoint_steps(folder).empty()) return resume ? last : folder;
    last = folder;
  }
}

CkptFiles::CkptFiles(const OutputFolders& folders, const SaveSettings& save,
                     const std::string& native, bool resume)
    : folders_(folders), save_(save), prefix_(save.prefix) {
  if (!save.whole_ckpt) return;
  const auto numbered = [&](int64_t i) {
    return i == 0 ? save.prefix : fmt::format("{}_{}", save.prefix, i);
  };
  const auto in_use = [&](int64_t i) { return prefix_in_use(folders.checkpoint, numbered(i)); };
  int64_t i = number_of_run(native);
  while (in_use(resume ? i + 1 : i)) ++i;
  prefix_ = numbered(i);
}

std::string CkptFiles::network_path() const {
  return join_path(folders_.network, fmt::format("{}_rank_0-network.ckpt", prefix_));
}

std::string CkptFiles::whole_path(int64_t batch, int64_t steps_per_epoch) const {
  const int64_t epoch = (batch - 1) / steps_per_epoch + 1;
  const int64_t step = (batch - 1) % steps_per_epoch + 1;
  return join_path(folders_.checkpoint, fmt::format("{}_rank_0-{}_{}.ckpt", prefix_, epoch, step));
}

bool CkptFiles::saved(int64_t batch, int64_t steps_per_epoch) const {
  if (save_.whole_ckpt && !is_file(whole_path(batch, steps_per_epoch))) return false;
  if (!save_.network) return true;
  const std::string note = network_path() + std::string(kNote);
  if (!is_file(network_path()) || !is_file(note)) return false;
  const Json json = parse_json(read_text(note), "note", note);
  return json.is_object() && json.contains("step") && json["step"] == batch;
}

void CkptFiles::save(const LlamaConfig& config, const TrainState& state, int64_t batch,
                     int64_t steps_per_epoch, double loss_scale, bool data_begins_with_bos) const {
  if (save_.network) {
    make_folders(folders_.network);
    ConvertOptions options;
    options.format = WeightFormat::mindspore;
    options.output = network_path();
    options.dtype = state.weights.dtype();
    convert_weights(rows_of(state.weights), config, options);
    write_file(
        options.output + std::string(kNote),
        Json({{"data_begins_with_bos", data_begins_with_bos}, {"step", batch}}).dump() + "\n");
    remove_half_written(folders_.network, prefix_);
  }
  if (save_.whole_ckpt) save_whole(config, state, batch, steps_per_epoch, loss_scale);
}

void CkptFiles::save_whole(const LlamaConfig& /*config*/, const TrainState& state, int64_t batch,
                           int64_t steps_per_epoch, double loss_scale) const {
  const int64_t epoch = (batch - 1) / steps_per_epoch + 1;
  const int64_t step = (batch - 1) % steps_per_epoch + 1;
  const std::string path = whole_path(batch, steps_per_epoch);
  make_folders(folders_.checkpoint);
  const std::pair<const char*, const ParamArena*> groups[] = {
      {"", &state.weights}, {"adam_m.", &state.m}, {"adam_v.", &state.v}};
  std::vector<TensorInfo> infos;
  std::vector<std::span<const std::byte>> contents;
  for (const auto& [group, arena] : groups) {
    for (const auto& [param, i] : named_parameters(*arena)) {
      infos.push_back(
          {group + param, arena->dtype(), arena->params()[static_cast<size_t>(i)].shape});
      contents.push_back(bytes_of_param(*arena, i));
    }
  }
  MindsporeWriteOptions options;
  options.scalars = {{"epoch_num", epoch},
                     {"step_num", batch},
                     {"global_step", state.step},
                     {"loss_scale", static_cast<float>(loss_scale)}};
  const auto writer = make_mindspore_ckpt_writer(path, std::move(infos), options);
  for (const auto bytes : contents) writer->write(bytes);
  remove_side_manifest(path);
  writer->commit();
  write_side_manifest(path);
  write_file(join_path(folders_.checkpoint, "meta.json"),
             Json({{"last_epoch", epoch}, {"last_step", step}, {"last_ckpt_file", base_name(path)}})
                 .dump());
  remove_old();
  remove_half_written(folders_.checkpoint, prefix_);
  remove_half_written(folders_.checkpoint, "meta.json");
}

void CkptFiles::remove_old() const {
  std::vector<std::pair<std::pair<int64_t, int64_t>, std::string>> found;
  for (const std::string& name : list_files(folders_.checkpoint))
    if (const auto numbers = numbers_of(name, prefix_)) found.emplace_back(*numbers, name);
  std::sort(found.begin(), found.end());
  for (size_t i = 0; i + static_cast<size_t>(save_.keep) < found.size(); ++i) {
    std::error_code failed;
    const std::string path = join_path(folders_.checkpoint, found[i].second);
    std::filesystem::remove(path + std::string(kSumsSuffix), failed);
    std::filesystem::remove(path, failed);
    if (failed) warn(fmt::format("checkpoint: {}: cannot be removed: {}", path, failed.message()));
  }
}

double saved_loss_scale(const std::string& checkpoint_folder) {
  const std::string path = join_path(checkpoint_folder, "manifest.json");
  const Json state =
      parse_json(parse_manifest(read_text(path), path).state_json, "checkpoint state", path);
  const auto scale = state.find("loss_scale");
  require<FormatError>(scale != state.end() && scale->is_object() && scale->contains("scale") &&
                           (*scale)["scale"].is_number(),
                       "checkpoint state: {}: no loss_scale", path);
  return (*scale)["scale"].get<double>();
}

bool trained_with_bos(const std::string& path) {
  if (const std::string note = path + std::string(kNote); is_file(note)) {
    const Json json = parse_json(read_text(note), "note", note);
    return json.is_object() && json.contains("data_begins_with_bos") &&
           json["data_begins_with_bos"] == true;
  }
  const std::string manifest = join_path(path, "manifest.json");
  if (!is_folder(path) || !is_file(manifest)) return false;
  const Json state = parse_json(parse_manifest(read_text(manifest), manifest).state_json,
                                "checkpoint state", manifest);
  const auto identity = state.find("identity");
  return identity != state.end() && identity->is_object() &&
         identity->contains("begins with bos") && (*identity)["begins with bos"] == "true";
}

}  // namespace cria::recipe
