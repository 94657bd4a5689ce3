// Every key of the recipe's YAML files, in one table: what it takes, and what we do with it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "recipe/yaml.h"

namespace cria::recipe {

enum class Treatment {
  honoured,  // does what it says
  mapped,    // does the nearest thing that exists here; a line says so where it matters
  ignored,   // accepted without effect; one line lists all that a file has
};
enum class Takes { any, boolean, integer, number, text, list, map };

struct Key {
  std::string_view path;  // dotted; items of `callbacks` are `callbacks.<type>.<key>`
  Treatment treatment;
  Takes takes;
  std::string_view note;          // what it does here, for docs/training.md and messages
  std::string_view choices = {};  // allowed values, separated by "|"
};
std::span<const Key> key_table();

/// Checks every key of a configuration: an unknown one is a UsageError with line, column and the nearest known key; so are
/// values of the wrong kind and words outside the choices. `path` is the file's. Returns the ignored keys that the file has.
std::vector<std::string> check_keys(const YamlNode& root, std::string_view path);

/// `model.model_config.seq_length` = `512`, as a flag gave it. The folder keys must exist. Throws UsageError.
void apply_override(YamlNode& root, std::string_view dotted, std::string_view value);
/// The same with a value made before; missing folder keys are made.
void set_key(YamlNode& root, std::string_view dotted, YamlNode value);

/// The node at a dotted path, null values counting as absent.
const YamlNode* find_key(const YamlNode& root, std::string_view dotted);

}  // namespace cria::recipe
