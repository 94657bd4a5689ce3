// Loading: the boxes that are wanted are put together from the boxes that are stored.
#include <fmt/format.h>

#include <array>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "checkpoint/agreement.h"
#include "checkpoint/checkpoint_files.h"
#include "checkpoint/train_checkpoint.h"

namespace cria {
namespace {

void want_group(const CheckpointFiles& files, const std::string& group, ParamArena& arena,
                std::vector<CheckpointFiles::Wanted>& wanted) {
  const auto stored = files.manifest().groups.find(group);
  require<MismatchError>(
      stored != files.manifest().groups.end(),
      "resume: {}: it holds no \"{}\"; try: the settings the run was started with", files.folder(),
      group);
  const StoredGroup& tensors = stored->second;
  const size_t expected = llama_params(arena.config()).size();
  require<MismatchError>(tensors.size() == expected, "resume: {}: {} tensors of {}, expected {}",
                         files.folder(), tensors.size(), group, expected);
  const std::string prefix = name_prefix(group);
  for (size_t i = 0; i < arena.params().size(); ++i) {
    const Param& p = arena.params()[i];
    const auto found = tensors.find(p.name);
    require<MismatchError>(found != tensors.end(), "resume: {}: no tensor \"{}{}\"", files.folder(),
                           prefix, p.name);
    const StoredTensor& t = found->second;
    require<MismatchError>(t.shape == p.shape && t.dtype == arena.dtype(),
                           "resume: {}: \"{}{}\" is {} [{}], expected {} [{}]", files.folder(),
                           prefix, p.name, name_of(t.dtype), fmt::join(t.shape, ", "),
                           name_of(arena.dtype()), fmt::join(p.shape, ", "));
    wanted.push_back(
        {prefix + p.name, &t, rect_of(p.begin, p.size), arena[static_cast<int64_t>(i)]});
  }
}

}  // namespace

std::string load_checkpoint(const std::string& folder, CheckpointContent& content) {
  const CheckpointFiles files(folder);
  files.verify_other_files();
  std::vector<CheckpointFiles::Wanted> wanted;
  ThreadPool pool;
  for (const auto& [group, arena] : content.groups) {
    if (arena->memory() == nullptr) {
      want_group(files, group, *arena, wanted);
      continue;
    }
    // By the host, one group after another.
    ParamArena host = arena->empty_like(nullptr);
    std::vector<CheckpointFiles::Wanted> of_host;
    want_group(files, group, host, of_host);
    files.read(of_host, pool);
    arena->assign(host);
  }
  files.read(wanted, pool);
  return content.state_json = files.manifest().state_json;
}

std::string load_checkpoint(const std::string& folder, CheckpointContent& content, Comm& world) {
  run_together(world, [&] { load_checkpoint(folder, content); });
  return content.state_json;
}

namespace {

// The folder as rank 0 sees it, so that all try the same steps.
std::vector<int64_t> common_steps(const std::string& root, Comm& world) {
  std::vector<int64_t> steps;
  if (world.rank() == 0) steps = checkpoint_steps(root);
  std::array<int64_t, 1> count = {std::ssize(steps)};
  world.broadcast(std::as_writable_bytes(std::span(count)), 0);
  steps.resize(static_cast<size_t>(count[0]));
  if (!steps.empty()) world.broadcast(std::as_writable_bytes(std::span(steps)), 0);
  return steps;
}

}  // namespace

std::optional<int64_t> load_newest_checkpoint(const std::string& root, CheckpointContent& content,
                                              Comm& world) {
  const std::vector<int64_t> steps = common_steps(root, world);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    try {
      load_checkpoint(checkpoint_folder(root, *step), content, world);
      return *step;
    } catch (const FormatError& e) {
      if (world.rank() == 0) warn(fmt::format("{}; going back to an older checkpoint", e.what()));
    }
  }
  require<MismatchError>(steps.empty(), "resume: {}: none of its {} checkpoints is valid", root,
                         steps.size());
  return std::nullopt;
}

std::optional<int64_t> load_newest_checkpoint(const std::string& root, CheckpointContent& content) {
  OneRank alone;
  return load_newest_checkpoint(root, content, alone.groups.world);
}

void verify_checkpoint(const std::string& folder) {
  ThreadPool pool;
  CheckpointFiles(folder).verify_all(pool);
}

}  // namespace cria
