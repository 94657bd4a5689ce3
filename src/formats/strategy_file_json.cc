// The JSON form of strategy files: the same content, and each parameter's whole shape.
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "formats/strategy_file.h"

namespace cria {
namespace {

constexpr std::string_view kWhat = "MindSpore strategy file";
constexpr size_t kMaxItems = 1 << 16;
constexpr size_t kMaxList = 64;

class Parser {
 public:
  explicit Parser(const std::string& path) : path_(path) {}

  StrategyFile parse(const Json& root) const {
    StrategyFile out;
    out.current_stage = static_cast<uint32_t>(number(member(root, "current_stage"), 0, UINT32_MAX));
    for (const auto& [name, item] : items(member(root, "parallel_strategy_item"))) {
      StrategyOperator op{.name = name};
      op.stage = static_cast<uint32_t>(number(member(item, "stage"), 0, kMaxStrategyDevices));
      for (const Json& split : list(member(item, "parallel_strategy"))) {
        auto& dims = op.splits.emplace_back();
        for (const int64_t dim : numbers(split, 0)) dims.push_back(static_cast<uint32_t>(dim));
      }
      out.operators.push_back(std::move(op));
    }
    for (const auto& [name, item] : items(member(root, "parallel_layout_item"))) {
      out.layouts.emplace_back(name, layout(item));
      validate_layout(name, out.layouts.back().second, path_, -1);
    }
    return out;
  }

 private:
  [[noreturn]] void fail(std::string reason) const {
    throw FormatError(describe({.what = kWhat, .path = path_, .reason = std::move(reason)}));
  }
  const Json& member(const Json& object, const char* key) const {
    if (!object.is_object() || !object.contains(key)) fail(fmt::format("no \"{}\"", key));
    return object[key];
  }
  nlohmann::detail::iteration_proxy<Json::const_iterator> items(const Json& value) const {
    if (!value.is_object() || value.size() > kMaxItems) fail("expected an object of items by name");
    return value.items();
  }
  const Json& list(const Json& value) const {
    if (!value.is_array() || value.size() > kMaxList) fail("expected a list of at most 64");
    return value;  // NOLINT(bugprone-return-const-ref-from-parameter): every caller's JSON outlives the reader
  }
  int64_t number(const Json& value, int64_t low, int64_t high) const {
    const bool fits = value.is_number_unsigned()
                          ? value.get<uint64_t>() <= static_cast<uint64_t>(high)
                          : value.is_number_integer() && value.get<int64_t>() <= high;
    if (!fits || value.get<int64_t>() < low)
      fail(fmt::format("expected a whole number from {} to {}", low, high));
    return value.get<int64_t>();
  }
  std::vector<int64_t> numbers(const Json& value, int64_t low) const {
    std::vector<int64_t> out;
    for (const Json& v : list(value))
      out.push_back(number(v, low, std::numeric_limits<int32_t>::max()));
    return out;
  }
  ParamLayout layout(const Json& item) const {
    constexpr int64_t most = std::numeric_limits<int32_t>::max();
    ParamLayout out;
    out.dev_matrix = numbers(member(item, "dev_matrix"), 1);
    const Json& map = list(member(item, "tensor_map"));
    if (!map.empty() && map[0].is_array()) {
      for (const Json& m : map) out.tensor_map.push_back(numbers(m, -1));
    } else {
      out.tensor_map.push_back(numbers(map, -1));
    }
    if (item.contains("tensor_shape")) out.tensor_shape = numbers(item["tensor_shape"], 0);
    if (out.dev_matrix.size() > 16 || out.tensor_map.size() > 8) fail("too many dims");
    out.field = static_cast<int32_t>(number(member(item, "field"), -most, most));
    out.opt_weight_shard_step =
        static_cast<int32_t>(number(member(item, "opt_weight_shard_step"), -1, most));
    out.opt_weight_shard_size =
        static_cast<int32_t>(number(member(item, "opt_weight_shard_size"), -1, most));
    return out;
  }

  const std::string& path_;
};

}  // namespace

StrategyFile parse_strategy_json(std::string_view text, const std::string& path) {
  return Parser(path).parse(parse_json(text, kWhat, path));
}

std::string strategy_json(const StrategyFile& strategy) {
  Json operators = Json::object(), layouts = Json::object();
  for (const StrategyOperator& op : strategy.operators)
    operators[op.name] = {{"parallel_strategy", op.splits}, {"stage", op.stage}};
  for (const auto& [name, layout] : strategy.layouts) {
    Json map = layout.tensor_map;
    if (layout.tensor_map.size() == 1) map = layout.tensor_map[0];
    layouts[name] = {{"dev_matrix", layout.dev_matrix},
                     {"tensor_map", map},
                     {"tensor_shape", layout.tensor_shape},
                     {"field", layout.field},
                     {"opt_weight_shard_step", layout.opt_weight_shard_step},
                     {"opt_weight_shard_size", layout.opt_weight_shard_size}};
  }
  const Json root = {{"current_stage", strategy.current_stage},
                     {"parallel_strategy_item", operators},
                     {"parallel_layout_item", layouts}};
  return root.dump();
}

}  // namespace cria
