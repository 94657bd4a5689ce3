#include "formats/compressed_config.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"

namespace cria {
namespace {

constexpr const char* kKey = "quantization_config";

/// Reads values of one object, naming them from the top in messages.
class Object {
 public:
  Object(const Json& json, std::string name, const std::string& path)
      : json_(json), name_(std::move(name)), path_(path) {
    require<FormatError>(json.is_object(), "config: {}: \"{}\" is {}, expected a JSON object", path,
                         name_, shown(json));
  }
  /// Nothing where the key is missing or null.
  [[nodiscard]] const Json* find(const char* key) const {
    const auto it = json_.find(key);
    return it == json_.end() || it->is_null() ? nullptr : &*it;
  }
  [[nodiscard]] std::string text(const char* key, const char* otherwise) const {
    const Json* const value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) refuse(key, "a text");
    return value->get<std::string>();
  }
  [[nodiscard]] bool flag(const char* key, bool otherwise) const {
    const Json* const value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) refuse(key, "true or false");
    return value->get<bool>();
  }
  [[nodiscard]] std::optional<int64_t> integer(const char* key) const {
    const Json* const value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number_integer()) refuse(key, "a whole number");
    return value->get<int64_t>();
  }
  /// Missing, null and {} say that there is none of it.
  void expect_nothing(const char* key) const {
    const Json* const value = find(key);
    if (value != nullptr && !value->empty()) refuse(key, "none");
  }
  [[nodiscard]] std::string name_of(const std::string& key) const { return name_ + "." + key; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[noreturn]] void refuse(const char* key, std::string_view expected) const {
    const Json* const value = find(key);
    throw FormatError(fmt::format("config: {}: \"{}\" is {}, expected {}", path_, name_of(key),
                                  value == nullptr ? "missing" : shown(*value), expected));
  }

 private:
  static std::string shown(const Json& value) { return escaped(value.dump(), 64); }

  const Json& json_;
  std::string name_;
  const std::string& path_;
};

CompressedGroup parse_weights(const Object& in, const std::string& format) {
  if (in.text("type", "int") != "int") in.refuse("type", "\"int\"");
  CompressedGroup group{.num_bits = in.integer("num_bits").value_or(8)};
  if (group.num_bits != 4 && group.num_bits != 8) in.refuse("num_bits", "4 or 8");
  if (!in.flag("symmetric", true)) in.refuse("symmetric", "true: weights without zero points");
  const Json* const order = in.find("actorder");
  if (order != nullptr && *order != false && *order != "weight" && *order != "static")
    in.refuse("actorder", "none or \"weight\": columns in their own order");
  const Json* const dynamic = in.find("dynamic");
  if (dynamic != nullptr && *dynamic != false) in.refuse("dynamic", "false");
  const int64_t size = in.integer("group_size").value_or(0);
  const std::string strategy = in.text("strategy", size > 0     ? "group"
                                                   : size == -1 ? "channel"
                                                                : "tensor");
  if (strategy == "group") {
    if (size <= 0 || size % 32 != 0 || size > INT32_MAX)
      in.refuse("group_size", "a multiple of 32, as 32, 64 or 128");
    group.group_size = size;
  } else if (strategy != "channel") {
    in.refuse("strategy", "\"group\" or \"channel\"");
  }
  group.packed = format == "pack-quantized";
  return group;
}

}  // namespace

std::optional<std::vector<CompressedGroup>> parse_compressed_config(std::string_view config_json,
                                                                    const std::string& path) {
  const Json json = parse_json(config_json, "config", path);
  if (!json.is_object() || !json.contains(kKey) || json[kKey].is_null()) return std::nullopt;
  const Object config(json[kKey], kKey, path);
  if (config.text("quant_method", "") != "compressed-tensors")
    config.refuse("quant_method", "\"compressed-tensors\"");
  config.expect_nothing("transform_config");
  if (const Json* const sparse = config.find("sparsity_config");
      sparse != nullptr && !sparse->empty()) {
    const Object sparsity(*sparse, config.name_of("sparsity_config"), path);
    if (sparsity.text("format", "dense") != "dense") sparsity.refuse("format", "\"dense\"");
  }
  const std::string format = config.text("format", "pack-quantized");
  std::vector<CompressedGroup> groups;
  const Json* const all = config.find("config_groups");
  if (all == nullptr || !all->is_object()) config.refuse("config_groups", "an object of groups");
  for (const auto& [key, value] : all->items()) {
    const Object group(value, config.name_of("config_groups." + escaped(key, 64)), path);
    const Json* const weights = group.find("weights");
    if (weights == nullptr) continue;
    const std::string own = group.text("format", format.c_str());
    if (own != "pack-quantized" && own != "int-quantized")
      (group.find("format") != nullptr ? group : config)
          .refuse("format", "\"pack-quantized\" or \"int-quantized\"");
    groups.push_back(parse_weights(Object(*weights, group.name_of("weights"), path), own));
  }
  if (groups.empty()) config.refuse("config_groups", "a group with \"weights\"");
  return groups;
}

std::string with_compressed_config(std::string_view config_json, const CompressedGroup& group) {
  Json json = parse_json(config_json, "config", "config.json");
  Json weights = {{"num_bits", group.num_bits},
                  {"type", "int"},
                  {"symmetric", true},
                  {"strategy", group.group_size > 0 ? "group" : "channel"},
                  {"dynamic", false}};
  if (group.group_size > 0) weights["group_size"] = group.group_size;
  const char* const format = group.packed ? "pack-quantized" : "int-quantized";
  // The embedding and the output matrix stay plain: many programs read them so only.
  json[kKey] = {{"quant_method", "compressed-tensors"},
                {"format", format},
                {"quantization_status", "compressed"},
                {"config_groups",
                 {{"group_0",
                   {{"targets", Json::array({"Linear"})},
                    {"weights", weights},
                    {"input_activations", nullptr},
                    {"output_activations", nullptr},
                    {"format", format}}}}},
                {"ignore", Json::array({"lm_head"})},
                {"kv_cache_scheme", nullptr},
                {"global_compression_ratio", nullptr}};
  return json.dump(2) + "\n";
}

}  // namespace cria
