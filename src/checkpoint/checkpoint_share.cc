#include "checkpoint/checkpoint_share.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "formats/safetensors.h"

namespace cria {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kManifest = "manifest.json";
constexpr const char* kConfig = "config.json";
constexpr const char* kIndex = "model.safetensors.index.json";

/// Several files of whole weights open as one model by their index; slices have none.
std::string index_of_whole_weights(const StoredGroup& weights) {
  SafetensorsIndex index;
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : weights) {
    if (tensor.boxes.size() != 1) return {};
    index.weight_map.emplace_back(name, tensor.boxes[0].file);
    bytes += static_cast<uint64_t>(TensorInfo{name, tensor.dtype, tensor.shape}.size_bytes());
  }
  return safetensors_index_json(index, bytes);
}

}  // namespace

std::string share_file_name(const std::string& group, std::span<const int64_t> writes,
                            int64_t rank) {
  const std::string stem = group == "weights" ? "model" : group;
  const auto all = std::ranges::count(writes, 1);
  if (all == 1) return stem + ".safetensors";
  const auto number = std::ranges::count(writes.first(static_cast<size_t>(rank) + 1), 1);
  return fmt::format("{}-{:05}-of-{:05}.safetensors", stem, number, all);
}

std::vector<bool> owned_params(const ParamArena& arena, const RankGrid& grid) {
  // Without the cut over data-parallel ranks: what is not whole then is cut by tensor parallelism.
  const std::vector<Param> uncut = part_params(arena.config(), arena.part());
  std::vector<bool> owned(uncut.size());
  for (size_t i = 0; i < uncut.size(); ++i) {
    const Param& p = arena.params()[i];
    const bool mine_of_tp = !uncut[i].whole() || grid.tp_index() == 0;
    const bool mine_of_dp = (p.sharded ? grid.copy_index() : grid.dp_index()) == 0;
    owned[i] = !p.copy && mine_of_tp && mine_of_dp;
  }
  return owned;
}

uint64_t bytes_of_shares(const std::vector<Share>& shares) {
  uint64_t bytes = 0;
  for (const Share& s : shares)
    for (const size_t i : s.params)
      bytes += static_cast<uint64_t>(
          bytes_of(s.arena->dtype(), (*s.arena)[static_cast<int64_t>(i)].elements()));
  return bytes;
}

std::vector<Share> shares_of(const CheckpointContent& content, Groups& groups) {
  std::vector<Share> shares;
  const auto ranks = static_cast<size_t>(groups.world.size());
  const auto me = static_cast<size_t>(groups.world.rank());
  std::vector<int64_t> writes(content.groups.size() * ranks);  // by group, then rank
  for (const auto& [group, arena] : content.groups) {
    Share share{group, arena, {}, {}};
    const std::vector<bool> owned = owned_params(*arena, groups.grid);
    for (size_t i = 0; i < owned.size(); ++i)
      if (owned[i]) share.params.push_back(i);
    writes[shares.size() * ranks + me] = share.params.empty() ? 0 : 1;
    shares.push_back(std::move(share));
  }
  groups.world.all_reduce(writes);
  for (size_t g = 0; g < shares.size(); ++g) {
    shares[g].file = share_file_name(shares[g].group, std::span(writes).subspan(g * ranks, ranks),
                                     groups.world.rank());
  }
  std::erase_if(shares, [](const Share& s) { return s.params.empty(); });
  return shares;
}

void write_share(const std::string& folder, const Share& share, Manifest& manifest,
                 ThreadPool& pool) {
  const ParamArena& arena = *share.arena;
  const std::string prefix = name_prefix(share.group);
  std::vector<TensorInfo> infos;
  for (const size_t i : share.params) {
    const Param& p = arena.params()[i];
    infos.push_back({prefix + p.name, arena.dtype(), p.size});
    manifest.groups[share.group][p.name] = {
        arena.dtype(), p.shape, {{p.begin, p.size, share.file}}};
  }
  const std::string path = join_path(folder, share.file);
  const auto writer = make_safetensors_writer(path, infos, {{"format", "pt"}});
  for (const size_t i : share.params)
    arena.for_bytes(arena[static_cast<int64_t>(i)], [&](auto bytes) { writer->write(bytes); });
  writer->commit();
  manifest.files[share.file] = sums_of(MappedFile(path).bytes(), pool);
}

void write_manifest(const std::string& folder, Manifest m, const std::string& config_json) {
  ThreadPool pool(1);
  const std::string path = join_path(folder, kManifest);
  check_boxes(m, path);
  const auto add = [&](const char* name, const std::string& text) {
    write_file(join_path(folder, name), text);
    m.files[name] = sums_of(std::as_bytes(std::span(text)), pool);
  };
  if (const auto weights = m.groups.find("weights"); weights != m.groups.end()) {
    const std::string index = index_of_whole_weights(weights->second);
    if (!index.empty() && !m.files.contains("model.safetensors")) add(kIndex, index);
  }
  add(kConfig, config_json);
  m.config_sha256 = m.files.at(kConfig).sha256;
  for (const auto& [name, sums] : m.files) {
    require<IoError>(fs::file_size(join_path(folder, name)) == sums.size,
                     "save: {}: the file has not the {} bytes that its rank wrote",
                     join_path(folder, name), sums.size);
  }
  write_file(path, manifest_text(m));
}

}  // namespace cria
