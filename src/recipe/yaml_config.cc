// Trees of settings: looking up, laying one upon another, and files that stand on others.
#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "recipe/yaml.h"

namespace cria::recipe {
namespace {

constexpr int kMaxBases = 8;

YamlNode load(const std::string& path, std::vector<std::string>& below) {
  require(std::ssize(below) < kMaxBases, "yaml: {}: base_config goes more than {} files deep", path,
          kMaxBases);
  require(std::find(below.begin(), below.end(), path) == below.end(),
          "yaml: {}: base_config leads back to this file", path);
  YamlNode root = parse_yaml(read_text(path, YamlLimits::bytes), path);
  require(root.is_map(), "yaml: {}: expected keys and values, found {}", path, name_of(root.kind));
  const auto at = std::find_if(root.entries.begin(), root.entries.end(),
                               [](const auto& e) { return e.key == "base_config"; });
  if (at == root.entries.end()) return root;
  std::vector<YamlNode> bases =
      at->value.kind == YamlNode::Kind::list ? at->value.items : std::vector<YamlNode>{at->value};
  root.entries.erase(at);
  below.push_back(path);
  YamlNode under;
  under.kind = YamlNode::Kind::map;
  for (const YamlNode& base : bases) {
    if (base.is_null()) continue;
    require(base.kind == YamlNode::Kind::text,
            "yaml: {} line {} col {}: base_config is {}, expected a path", path, base.line,
            base.column, name_of(base.kind));
    const std::string file =
        base.text.starts_with('/') ? base.text : join_path(parent_folder(path), base.text);
    under = merged(std::move(under), load(file, below));
  }
  below.pop_back();
  return merged(std::move(under), std::move(root));
}

}  // namespace

const YamlNode* YamlNode::find(std::string_view key) const {
  for (const auto& [name, value] : entries)
    if (name == key) return &value;
  return nullptr;
}
YamlNode* YamlNode::find(std::string_view key) {
  return const_cast<YamlNode*>(static_cast<const YamlNode*>(this)->find(key));
}

std::string_view name_of(YamlNode::Kind kind) {
  switch (kind) {
    case YamlNode::Kind::null:
      return "nothing";
    case YamlNode::Kind::boolean:
      return "a boolean";
    case YamlNode::Kind::integer:
      return "a whole number";
    case YamlNode::Kind::number:
      return "a number";
    case YamlNode::Kind::text:
      return "text";
    case YamlNode::Kind::list:
      return "a list";
    case YamlNode::Kind::map:
      return "a map";
  }
  return "";
}

YamlNode merged(YamlNode under, YamlNode over) {
  if (!under.is_map() || !over.is_map()) return over;
  for (auto& [key, value] : over.entries) {
    if (YamlNode* old = under.find(key)) {
      *old = merged(std::move(*old), std::move(value));
    } else {
      under.entries.push_back({key, std::move(value)});
    }
  }
  return under;
}

YamlNode load_config(const std::string& path) {
  std::vector<std::string> below;
  return load(path, below);
}

}  // namespace cria::recipe
