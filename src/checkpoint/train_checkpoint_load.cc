// Loading: every block's sum first, then the tensors straight into their arenas.
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "checkpoint/manifest.h"
#include "checkpoint/train_checkpoint.h"
#include "formats/safetensors.h"

namespace cria {
namespace {

Manifest read_manifest(const std::string& folder) {
  const std::string path = join_path(folder, "manifest.json");
  return parse_manifest(read_text(path), path);
}

void verify_files(const std::string& folder, const Manifest& manifest, ThreadPool& pool) {
  for (const auto& [name, sums] : manifest.files) {
    const std::string path = join_path(folder, name);
    const MappedFile file(path);
    check_sums(file.bytes(), sums, path, pool, "checkpoint", "an older checkpoint");
  }
}

void load_group(const std::string& path, const std::string& prefix, ParamArena& arena) {
  const auto reader = open_safetensors(path);
  const auto& params = arena.params();
  require<MismatchError>(reader->tensors().size() == params.size(),
                         "resume: {}: {} tensors, expected {}", path, reader->tensors().size(),
                         params.size());
  for (size_t i = 0; i < params.size(); ++i) {
    const auto index = reader->find(prefix + params[i].name);
    require<MismatchError>(index.has_value(), "resume: {}: no tensor \"{}{}\"", path, prefix,
                           params[i].name);
    const TensorInfo& t = reader->tensors()[*index];
    require<MismatchError>(t.shape == params[i].shape && t.dtype == arena.dtype(),
                           "resume: {}: \"{}\" is {} [{}], expected {} [{}]", path, t.name,
                           name_of(t.dtype), fmt::join(t.shape, ", "), name_of(arena.dtype()),
                           fmt::join(params[i].shape, ", "));
    const View v = arena[static_cast<int64_t>(i)];
    reader->read(
        *index, 0,
        {static_cast<std::byte*>(v.data), static_cast<size_t>(bytes_of(v.dtype, v.elements()))});
  }
}

}  // namespace

std::string load_checkpoint(const std::string& folder, CheckpointContent& content) {
  const Manifest manifest = read_manifest(folder);
  ThreadPool pool;
  verify_files(folder, manifest, pool);
  for (const auto& [group, arena] : content.groups) {
    const auto it = manifest.groups.find(group);
    require<MismatchError>(
        it != manifest.groups.end(),
        "resume: {}: it holds no \"{}\"; try: the settings the run was started with", folder,
        group);
    load_group(join_path(folder, it->second), group == "weights" ? "" : group + ".", *arena);
  }
  return content.state_json = manifest.state_json;
}

std::optional<int64_t> load_newest_checkpoint(const std::string& root, CheckpointContent& content) {
  const std::vector<int64_t> steps = checkpoint_steps(root);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    try {
      load_checkpoint(checkpoint_folder(root, *step), content);
      return *step;
    } catch (const FormatError& e) {
      warn(fmt::format("{}; going back to an older checkpoint", e.what()));
    }
  }
  require<MismatchError>(steps.empty(), "resume: {}: none of its {} checkpoints is valid", root,
                         steps.size());
  return std::nullopt;
}

void verify_checkpoint(const std::string& folder) {
  ThreadPool pool;
  verify_files(folder, read_manifest(folder), pool);
}

}  // namespace cria
