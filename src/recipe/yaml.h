// YAML as the recipe's files use it: PyYAML's YAML 1.1, read into a tree of our own that knows lines and columns.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cria::recipe {

struct YamlEntry;

struct YamlNode {
  enum class Kind { null, boolean, integer, number, text, list, map };
  Kind kind = Kind::null;
  bool boolean = false;
  int64_t integer = 0;
  double number = 0;  // of integers too
  std::string text;   // a scalar as it is written, without quotes
  std::vector<YamlNode> items;
  std::vector<YamlEntry> entries;  // in file order; keys are unique
  int64_t line = 0, column = 0;    // from 1; 0: not from a file
  // Of the tree from here down, aliases expanded.
  int64_t nodes = 1;
  int height = 1;

  /// The value of a key of a map; nothing when this is no map or has no such key.
  [[nodiscard]] const YamlNode* find(std::string_view key) const;
  [[nodiscard]] YamlNode* find(std::string_view key);
  [[nodiscard]] bool is_null() const { return kind == Kind::null; }
  [[nodiscard]] bool is_map() const { return kind == Kind::map; }
};
/// A key of a map and its value.
struct YamlEntry {
  std::string key;
  YamlNode value;
};
/// "a whole number", "text", ...: for messages.
std::string_view name_of(YamlNode::Kind kind);

/// What a file may ask of us.
struct YamlLimits {
  static constexpr uint64_t bytes = 1 << 20;
  static constexpr int depth = 32;
  static constexpr int64_t nodes = 100000;  // after aliases are expanded
};

/// One document of at most YamlLimits. Core tags only; anchors, aliases and merge keys (`<<`) are
/// expanded; a key given twice in one map is an error. An empty text is an empty map.
/// Throws FormatError naming line and column.
YamlNode parse_yaml(std::string_view text, std::string_view path);

/// The type and value of a plain (unquoted) scalar: YAML 1.1 as PyYAML has it (yes, no, on, off are
/// booleans; 010 is eight; 1_000; 0x1f; 1:30 is ninety; .inf), and 1e-5 is a number, which PyYAML takes for text.
YamlNode plain_scalar(std::string text);

/// `over` laid upon `under`: maps are joined key by key, anything else is replaced.
YamlNode merged(YamlNode under, YamlNode over);

/// A configuration file with what its `base_config` (a path or a list of paths, relative to the file)
/// puts underneath, at most 8 deep. Throws UsageError, IoError, FormatError.
YamlNode load_config(const std::string& path);

}  // namespace cria::recipe
