// MindSpore's parallel strategy files: how every parameter of a network is cut over devices.
// docs/formats/strategy.md draws the bytes; checkpoint/layout.h says what a layout means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria {

/// An operator of the network and how each of its inputs is split. Only the stage is of use here.
struct StrategyOperator {
  std::string name;
  /// Pipeline stage, from 0.
  uint32_t stage = 0;
  std::vector<std::vector<uint32_t>> splits;
  bool operator==(const StrategyOperator&) const = default;
};

/// How one parameter is cut. Checked when read: sizes of the grid are 1 or more and multiply to at
/// most kMaxStrategyDevices, entries of the map are -1 or name a grid dim, none of them twice.
struct ParamLayout {
  /// The devices of a stage as a grid, last dim fastest.
  std::vector<int64_t> dev_matrix;
  /// One map with an entry per tensor dim; or, in the newer form, a map per tensor dim with the
  /// grid dims that split it. Grid dims are counted from the right; -1 splits nothing.
  std::vector<std::vector<int64_t>> tensor_map;
  /// The whole tensor's shape, which only the JSON form has.
  std::vector<int64_t> tensor_shape;
  /// Uneven splits, which MindSpore's files leave empty.
  std::vector<int64_t> param_split_shape, indices_offset;
  int32_t field = 0;
  /// The optimizer shard: 0 none, -1 over all copies, else over so many.
  int32_t opt_weight_shard_step = 0, opt_weight_shard_size = 0;

  /// Devices of the grid.
  [[nodiscard]] int64_t devices() const;
  bool operator==(const ParamLayout&) const = default;
};

inline constexpr int64_t kMaxStrategyDevices = int64_t{1} << 20;

struct StrategyFile {
  /// MindSpore's count of saves; not a pipeline stage.
  uint32_t current_stage = 1;
  std::vector<StrategyOperator> operators;
  /// By parameter; names are unique. In merged files a name is `<stage>-<parameter>`.
  std::vector<std::pair<std::string, ParamLayout>> layouts;
  bool operator==(const StrategyFile&) const = default;
};

/// The protobuf form. Throws FormatError.
StrategyFile parse_strategy(std::span<const std::byte> file, const std::string& path);
/// The JSON form that MindSpore writes for names that end in .json. Throws FormatError.
StrategyFile parse_strategy_json(std::string_view text, const std::string& path);
/// Either form, by the name's end. Throws FormatError, IoError.
StrategyFile read_strategy_file(const std::string& path);

/// The bytes of a file, as MindSpore orders them within a message; parse_strategy's inverse but for
/// tensor_shape, which protobuf has no place for.
std::vector<std::byte> encode_strategy(const StrategyFile& strategy);
/// The JSON form; parse_strategy_json's inverse but for param_split_shape and indices_offset.
std::string strategy_json(const StrategyFile& strategy);

/// A parameter's name in a merged file.
struct StagedName {
  uint32_t stage = 0;
  std::string_view name;
  bool prefixed = false;
};
/// Splits `<stage>-<parameter>`; a name without such a beginning is of stage 0.
StagedName split_staged_name(std::string_view name);

/// Throws FormatError unless the layout keeps the promises of ParamLayout; `offset` is for messages
/// and -1 where there is none. Both parsers call it.
void validate_layout(const std::string& name, const ParamLayout& layout, const std::string& path,
                     int64_t offset);

}  // namespace cria
