#include "recipe/ckpt_files.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/side_manifest.h"
#include "checkpoint/ckpt_name.h"
#include "checkpoint/manifest.h"
#include "checkpoint/part_strategy.h"
#include "formats/mindspore_ckpt.h"
#include "recipe/own_layout.h"

namespace cria::recipe {
namespace {

constexpr std::string_view kNote = ".cria.json";  // appended to the network file's name

/// Writes the rank's slices of these groups: a prefix of names and an arena each.
void write_slices(const std::string& path, const TrainState& state,
                  std::span<const std::pair<const char*, const ParamArena*>> groups,
                  std::vector<MindsporeScalar> scalars) {
  std::vector<TensorInfo> infos;
  std::vector<std::pair<const ParamArena*, ConstView>> contents;
  for (const auto& [group, arena] : groups) {
    for (const RecipeParam& p : recipe_params(*arena)) {
      infos.push_back(
          {group + p.name, arena->dtype(), state.m.params()[static_cast<size_t>(p.index)].size});
      contents.emplace_back(arena, state.rows_of_state(*arena, p.index));
    }
  }
  MindsporeWriteOptions options;
  options.scalars = std::move(scalars);
  const auto writer = make_mindspore_ckpt_writer(path, std::move(infos), options);
  for (const auto& [arena, rows] : contents)
    arena->for_bytes(rows, [&](auto bytes) { writer->write(bytes); });
  remove_side_manifest(path);
  writer->commit();
  write_side_manifest(path);
}

// (epoch, step) of `<prefix>_rank_<r>-<epoch>_<step>.ckpt`.
std::optional<std::pair<int64_t, int64_t>> numbers_of(const std::string& name,
                                                      const std::string& prefix) {
  const auto parsed = parse_ckpt_name(name);
  const std::string begin = prefix + "_rank_";
  if (!parsed || !parsed->before.starts_with(begin)) return std::nullopt;
  if (!is_digits(parsed->before.substr(begin.size()), 9)) return std::nullopt;
  return std::pair(parsed->epoch, parsed->step);
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

OutputFolders::OutputFolders(const RecipeSettings& s, int rank) : grid(grid_at(s.parallel, rank)) {
  const char* given = std::getenv("LOCAL_DEFAULT_PATH");
  root = given != nullptr && *given != '\0' ? given : s.output_dir;
  const auto of_rank = [&](const std::string& folder, int r) {
    return join_path(folder, fmt::format("rank_{}", r));
  };
  // A folder of the user's own is used as it is by one rank, and for several holds theirs.
  const std::string own = s.save.directory;
  const bool alone = grid.size() == 1;
  checkpoint = own.empty() ? of_rank(join_path(root, "checkpoint"), rank)
               : alone     ? own
                           : of_rank(own, rank);
  shared_checkpoint = own.empty() ? of_rank(join_path(root, "checkpoint"), 0) : own;
  network = of_rank(join_path(root, "checkpoint_network"), rank);
  strategy = join_path(root, "strategy");
  const char* logs = std::getenv("LOG_MF_PATH");
  log = of_rank(logs != nullptr && *logs != '\0' ? logs : join_path(root, "log"), rank);
}

std::string OutputFolders::native(bool resume) const {
  std::string last = join_path(shared_checkpoint, "native");
  for (int i = 0;; ++i) {
    const std::string folder =
        join_path(shared_checkpoint, i == 0 ? "native" : fmt::format("native_{}", i));
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
  return join_path(folders_.network,
                   fmt::format("{}_rank_{}-network.ckpt", prefix_, folders_.grid.rank));
}

std::string CkptFiles::whole_path(int64_t batch, int64_t steps_per_epoch) const {
  const int64_t epoch = (batch - 1) / steps_per_epoch + 1;
  const int64_t step = (batch - 1) % steps_per_epoch + 1;
  return join_path(folders_.checkpoint,
                   fmt::format("{}_rank_{}-{}_{}.ckpt", prefix_, folders_.grid.rank, epoch, step));
}

bool CkptFiles::saved(int64_t batch, int64_t steps_per_epoch) const {
  if (save_.whole_ckpt && !is_file(whole_path(batch, steps_per_epoch))) return false;
  if (!save_.network) return true;
  const std::string note = network_path() + std::string(kNote);
  if (!is_file(network_path()) || !is_file(note)) return false;
  const Json json = parse_json(read_text(note), "note", note);
  return json.is_object() && json.contains("step") && json["step"] == batch;
}

void CkptFiles::save(const TrainState& state, int64_t batch, int64_t steps_per_epoch,
                     double loss_scale, bool data_begins_with_bos) const {
  if (folders_.grid.size() > 1 && (save_.network || save_.whole_ckpt)) save_strategy(state);
  if (save_.network) save_network(state, batch, data_begins_with_bos);
  if (save_.whole_ckpt) save_whole(state, batch, steps_per_epoch, loss_scale);
}

void CkptFiles::save_strategy(const TrainState& state) const {
  make_folders(folders_.strategy);
  const std::vector<std::byte> file = encode_strategy(part_strategy(state.m, folders_.grid));
  write_file(
      join_path(folders_.strategy, fmt::format("ckpt_strategy_rank_{}.ckpt", folders_.grid.rank)),
      {reinterpret_cast<const char*>(file.data()), file.size()});
}

void CkptFiles::save_network(const TrainState& state, int64_t batch,
                             bool data_begins_with_bos) const {
  make_folders(folders_.network);
  const std::pair<const char*, const ParamArena*> groups[] = {{"", &state.weights}};
  write_slices(network_path(), state, groups, {});
  write_file(network_path() + std::string(kNote),
             Json({{"data_begins_with_bos", data_begins_with_bos}, {"step", batch}}).dump() + "\n");
  remove_half_written(folders_.network, prefix_);
}

void CkptFiles::save_whole(const TrainState& state, int64_t batch, int64_t steps_per_epoch,
                           double loss_scale) const {
  const int64_t epoch = (batch - 1) / steps_per_epoch + 1;
  const int64_t step = (batch - 1) % steps_per_epoch + 1;
  const std::string path = whole_path(batch, steps_per_epoch);
  make_folders(folders_.checkpoint);
  const std::pair<const char*, const ParamArena*> groups[] = {
      {"", &state.weights}, {"adam_m.", &state.m}, {"adam_v.", &state.v}};
  write_slices(path, state, groups,
               {{"epoch_num", epoch},
                {"step_num", batch},
                {"global_step", state.step},
                {"loss_scale", static_cast<float>(loss_scale)}});
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
