// Writing strategy files, and what both forms have in common: checks and names.
#include "base/bytes.h"
#include "base/error.h"
#include "formats/strategy_file.h"
#include "formats/tensor_file.h"
#include "formats/wire.h"

namespace cria {
namespace {

using Bytes = std::vector<std::byte>;

void append_message(Bytes& out, uint32_t number, const Bytes& message) {
  append_bytes_header(out, number, message.size());
  append_bytes(out, message);
}

template <class Dims>
void append_dims(Bytes& out, uint32_t number, const Dims& dims) {
  Bytes message;
  for (const auto dim : dims)
    append_varint_field(message, 1, static_cast<uint64_t>(static_cast<int64_t>(dim)));
  append_message(out, number, message);
}

Bytes encode_operator(const StrategyOperator& op) {
  Bytes splits, out;
  append_varint_field(splits, 1, op.stage);
  for (const auto& split : op.splits) append_dims(splits, 2, split);
  append_text_field(out, 1, op.name);
  append_message(out, 2, splits);
  return out;
}

Bytes encode_layout(const std::string& name, const ParamLayout& layout) {
  const auto negative_too = [](int32_t v) {
    return static_cast<uint64_t>(static_cast<int64_t>(v));
  };
  Bytes message, out;
  append_dims(message, 1, layout.dev_matrix);
  for (const auto& map : layout.tensor_map) append_dims(message, 2, map);
  append_dims(message, 3, layout.param_split_shape);
  append_dims(message, 4, layout.indices_offset);
  append_varint_field(message, 5, negative_too(layout.field));
  append_varint_field(message, 6, negative_too(layout.opt_weight_shard_step));
  append_varint_field(message, 7, negative_too(layout.opt_weight_shard_size));
  append_text_field(out, 1, name);
  append_message(out, 2, message);
  return out;
}

// Why a layout makes no sense, or nothing.
std::string fault_of(const ParamLayout& layout) {
  const auto& grid = layout.dev_matrix;
  if (grid.empty()) return "a layout without a grid of devices";
  uint64_t devices = 1;
  for (const int64_t size : grid) {
    if (size < 1 || size > kMaxStrategyDevices) return "a grid of devices with a bad size";
    devices *= static_cast<uint64_t>(size);  // both factors are at most 2^20
    if (devices > static_cast<uint64_t>(kMaxStrategyDevices)) return "more than 2^20 devices";
  }
  if (layout.tensor_map.empty()) return "a layout without a tensor map";
  std::vector<bool> used(grid.size());
  for (const auto& map : layout.tensor_map) {
    if (map.size() > 8) return "a tensor map of more than 8 dims";
    for (const int64_t entry : map) {
      if (entry == -1) continue;
      if (entry < -1 || entry >= static_cast<int64_t>(grid.size()))
        return "a tensor map that names no dim of the grid";
      if (used[static_cast<size_t>(entry)]) return "a dim of the grid that splits two tensor dims";
      used[static_cast<size_t>(entry)] = true;
    }
  }
  if (layout.opt_weight_shard_size < -1 || layout.opt_weight_shard_step < 0)
    return "a negative optimizer shard";
  return {};
}

}  // namespace

int64_t ParamLayout::devices() const {
  int64_t product = 1;
  for (const int64_t size : dev_matrix) product *= size;
  return product;
}

void validate_layout(const std::string& name, const ParamLayout& layout, const std::string& path,
                     int64_t offset) {
  validate_tensor({.name = std::string(split_staged_name(name).name)}, "MindSpore strategy file",
                  path);
  const std::string fault = fault_of(layout);
  if (fault.empty()) return;
  throw FormatError(
      describe({.what = "MindSpore strategy file",
                .path = path,
                .offset = offset,
                .reason = fmt::format("parameter \"{}\" has {}", escaped(name, 64), fault)}));
}

StagedName split_staged_name(std::string_view name) {
  const size_t dash = name.find('-');
  if (dash == 0 || dash == std::string_view::npos || dash > 6) return {.name = name};
  uint32_t stage = 0;
  for (const char c : name.substr(0, dash)) {
    if (c < '0' || c > '9') return {.name = name};
    stage = stage * 10 + static_cast<uint32_t>(c - '0');
  }
  return {.stage = stage, .name = name.substr(dash + 1), .prefixed = true};
}

std::vector<std::byte> encode_strategy(const StrategyFile& strategy) {
  Bytes out;
  append_varint_field(out, 1, strategy.current_stage);
  for (const StrategyOperator& op : strategy.operators) append_message(out, 2, encode_operator(op));
  for (const auto& [name, layout] : strategy.layouts)
    append_message(out, 3, encode_layout(name, layout));
  return out;
}

}  // namespace cria
