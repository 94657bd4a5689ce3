// Walking a configuration beside the table.
#include "recipe/keys.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/text.h"
#include "recipe/keys_table.h"

namespace cria::recipe {
namespace {

const Key* find_entry(std::string_view path) {
  static const std::map<std::string_view, const Key*> index = [] {
    std::map<std::string_view, const Key*> m;
    for (const Key& k : key_table()) m.emplace(k.path, &k);
    return m;
  }();
  const auto it = index.find(path);
  return it == index.end() ? nullptr : it->second;
}

bool fits(Takes takes, YamlNode::Kind kind) {
  using enum YamlNode::Kind;
  switch (takes) {
    case Takes::any:
      return true;
    case Takes::boolean:
      return kind == boolean;
    case Takes::integer:
      return kind == integer;
    case Takes::number:
      return kind == integer || kind == number;
    // A name or path may look like a number.
    case Takes::text:
      return kind == text || kind == integer || kind == number;
    case Takes::list:
      return kind == list;
    case Takes::map:
      return kind == map;
  }
  return false;
}

std::string_view name_of(Takes takes) {
  switch (takes) {
    case Takes::any:
      return "anything";
    case Takes::boolean:
      return "True or False";
    case Takes::integer:
      return "a whole number";
    case Takes::number:
      return "a number";
    case Takes::text:
      return "text";
    case Takes::list:
      return "a list";
    case Takes::map:
      return "a map";
  }
  return "";
}

bool is_choice(std::string_view choices, std::string_view word) {
  while (!choices.empty()) {
    const size_t bar = choices.find('|');
    if (choices.substr(0, bar) == word) return true;
    if (bar == std::string_view::npos) return false;
    choices.remove_prefix(bar + 1);
  }
  return false;
}

class Walk {
 public:
  explicit Walk(std::string_view path) : path_(path) {}
  void map(const YamlNode& node, const std::string& prefix);
  std::vector<std::string> ignored;

 private:
  [[noreturn]] void fail(const YamlNode& at, std::string reason, std::string expected = {},
                         std::string hint = {}) const {
    throw UsageError(describe({.what = "config",
                               .path = path_,
                               .line = at.line,
                               .column = at.column,
                               .reason = std::move(reason),
                               .expected = std::move(expected),
                               .hint = std::move(hint)}));
  }
  void value(const std::string& full, const YamlNode& node);
  void callbacks(const YamlNode& list);
  [[nodiscard]] std::string nearest_key(std::string_view full) const;
  std::string_view path_;
};

// By the whole dotted path, else by the last part alone: a key may stand in the wrong place.
std::string Walk::nearest_key(std::string_view full) const {
  if (full.size() > 200) return {};  // the distance costs the product of the lengths
  const size_t dot = full.rfind('.');
  const std::string_view prefix = full.substr(0, dot == std::string_view::npos ? 0 : dot + 1);
  const std::string_view last = full.substr(prefix.size());
  std::vector<std::string> siblings, everywhere;
  for (const Key& k : key_table()) {
    const size_t cut = k.path.rfind('.');
    const std::string_view base = k.path.substr(0, cut == std::string_view::npos ? 0 : cut + 1);
    const std::string name(k.path.substr(base.size()));
    if (base == prefix) siblings.push_back(name);
    if (name == last) everywhere.emplace_back(k.path);
  }
  if (const auto guess = nearest(last, siblings)) return std::string(prefix) + *guess;
  if (!everywhere.empty()) return everywhere.front();
  std::vector<std::string> paths;
  for (const Key& k : key_table()) paths.emplace_back(k.path);
  return nearest(full, paths).value_or("");
}

void Walk::value(const std::string& full, const YamlNode& node) {
  const Key* key = find_entry(full);
  if (key == nullptr)
    fail(node, fmt::format("unknown key \"{}\"", escaped(full, 80)), {}, nearest_key(full));
  if (node.is_null()) return;
  if (!fits(key->takes, node.kind))
    fail(node, fmt::format("{} is {}", full, name_of(node.kind)), std::string(name_of(key->takes)));
  if (!key->choices.empty() && !is_choice(key->choices, node.text)) {
    std::string words(key->choices);
    for (size_t at = 0; (at = words.find('|', at)) != std::string::npos;)
      words.replace(at, 1, " or ");
    fail(node, fmt::format("{} is \"{}\"", full, escaped(node.text)), words);
  }
  if (key->treatment == Treatment::ignored) {
    ignored.push_back(full);
  } else if (full == "callbacks") {
    callbacks(node);
  } else if (node.is_map()) {
    map(node, full + ".");
  }
}

void Walk::map(const YamlNode& node, const std::string& prefix) {
  for (const auto& [name, child] : node.entries) value(prefix + name, child);
}

void Walk::callbacks(const YamlNode& list) {
  for (const YamlNode& item : list.items) {
    const YamlNode* type = item.find("type");
    if (!item.is_map() || type == nullptr)
      fail(item, "an item of callbacks has no type", "a map with a type");
    const bool known =
        is_choice("MFLossMonitor|CheckpointMointor|CheckpointMonitor|ObsMonitor", type->text);
    if (!known)
      fail(*type, fmt::format("callback \"{}\" is unknown", escaped(type->text)),
           "MFLossMonitor, CheckpointMonitor or ObsMonitor");
    for (const auto& [name, child] : item.entries)
      if (name != "type") value(fmt::format("callbacks.{}.{}", type->text, name), child);
  }
}

// Splits the first part off a dotted path.
std::string_view take_part(std::string_view& dotted) {
  const size_t dot = dotted.find('.');
  const std::string_view part = dotted.substr(0, dot);
  dotted.remove_prefix(dot == std::string_view::npos ? dotted.size() : dot + 1);
  return part;
}

}  // namespace

std::span<const Key> key_table() {
  static const std::vector<Key> all = [] {
    std::vector<Key> keys(run_keys().begin(), run_keys().end());
    keys.insert(keys.end(), model_keys().begin(), model_keys().end());
    return keys;
  }();
  return all;
}

std::vector<std::string> check_keys(const YamlNode& root, std::string_view path) {
  Walk walk(path);
  walk.map(root, "");
  return std::move(walk.ignored);
}

const YamlNode* find_key(const YamlNode& root, std::string_view dotted) {
  const YamlNode* node = &root;
  while (!dotted.empty() && node != nullptr) node = node->find(take_part(dotted));
  return node == nullptr || node->is_null() ? nullptr : node;
}

void set_key(YamlNode& root, std::string_view dotted, YamlNode value) {
  YamlNode* node = &root;
  while (true) {
    const std::string part(take_part(dotted));
    if (!node->is_map()) {
      *node = {};
      node->kind = YamlNode::Kind::map;
    }
    YamlNode* child = node->find(part);
    if (child == nullptr) child = &node->entries.emplace_back(YamlEntry{part, YamlNode()}).value;
    node = child;
    if (dotted.empty()) break;
  }
  *node = std::move(value);
}

void apply_override(YamlNode& root, std::string_view dotted, std::string_view value) {
  const size_t last = dotted.rfind('.');
  require(last != std::string_view::npos && last > 0 && last + 1 < dotted.size(),
          "config: --{}: expected a dotted key", escaped(dotted, 80));
  const YamlNode* folder = find_key(root, dotted.substr(0, last));
  require(folder != nullptr && folder->is_map(), "config: --{}: the configuration has no \"{}\"",
          escaped(dotted, 80), escaped(dotted.substr(0, last), 80));
  const bool json = value.starts_with('[') || value.starts_with('{') || value.starts_with('"');
  YamlNode node;
  try {
    node = json ? parse_yaml(value, fmt::format("--{}", dotted)) : plain_scalar(std::string(value));
  } catch (const FormatError& e) {
    throw UsageError(e.what());  // it stands on the command line, not in a file
  }
  set_key(root, dotted, std::move(node));
}

}  // namespace cria::recipe
