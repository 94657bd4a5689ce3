// What tests of transforms share: networks with made-up layouts, and checkpoints for them.
#pragma once

#include <filesystem>
#include <map>
#include <random>

#include "../formats/files.h"
#include "base/bytes.h"
#include "base/side_manifest.h"
#include "checkpoint/transform.h"
#include "formats/mindspore_ckpt.h"
#include "formats/strategy_file.h"

namespace cria::test {

inline ParamLayout make_layout(std::vector<int64_t> grid, std::vector<std::vector<int64_t>> map,
                               int step = 0, int size = 0) {
  ParamLayout out{.dev_matrix = std::move(grid), .tensor_map = std::move(map)};
  out.opt_weight_shard_step = step;
  out.opt_weight_shard_size = size;
  return out;
}

/// A merged strategy of one operator per stage.
inline StrategyFile make_strategy(uint32_t stages,
                                  std::vector<std::pair<std::string, ParamLayout>> layouts) {
  StrategyFile file;
  for (uint32_t s = 0; s < stages; ++s)
    file.operators.push_back({.name = "MatMul", .stage = s, .splits = {{1, 1}}});
  file.layouts = std::move(layouts);
  return file;
}
inline void save_strategy(const std::string& path, const StrategyFile& file) {
  spew(path, text_of(encode_strategy(file)));
}

/// Writes the tensors with random contents.
inline void save_random(const std::string& path, const std::vector<TensorInfo>& infos,
                        uint64_t seed = 1, std::vector<MindsporeScalar> scalars = {},
                        uint64_t piece_bytes = 536870912) {
  std::mt19937_64 random(seed);
  auto writer = make_mindspore_ckpt_writer(
      path, infos, {.scalars = std::move(scalars), .checksum = false, .piece_bytes = piece_bytes});
  for (const TensorInfo& info : infos) {
    std::vector<std::byte> bytes(static_cast<size_t>(info.size_bytes()));
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    writer->write(bytes);
  }
  writer->commit();
}

inline void relay(const std::string& src, const std::string& src_strategy, const std::string& dst,
                  const std::string& dst_strategy, int threads = 1) {
  transform_checkpoint({.src_strategy = src_strategy,
                        .dst_strategy = dst_strategy,
                        .src = src,
                        .dst = dst,
                        .prefix = "llama_",
                        .threads = threads,
                        .progress = {}});
}

/// Relative path to content, of all files below a folder but the sums beside them.
inline std::map<std::string, std::string> tree(const std::string& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_directory() && !entry.path().string().ends_with(kSumsSuffix))
      out[std::filesystem::relative(entry.path(), folder)] = slurp(entry.path());
  }
  return out;
}

}  // namespace cria::test
