// Command lines: `--name value`, `--name=value`, `_` and `-` alike, any unambiguous prefix of a name, help with examples.
// Errors are UsageError: one line, exit 2.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria {

class Flags {
 public:
  /// `command` as the user typed it ("cria convert", "convert_weight"); `examples` is printed at the end of --help.
  Flags(std::string command, const std::string& description, const std::string& examples);
  ~Flags();

  // Each adds `--name`; the variable keeps its value when the flag is absent, and the help shows that as the default.
  void text(const std::string& name, std::string& value, const std::string& help);
  void text(const std::string& name, std::optional<std::string>& value, const std::string& help);
  void integer(const std::string& name, int64_t& value, const std::string& help);
  void integer(const std::string& name, std::optional<int64_t>& value, const std::string& help);
  void number(const std::string& name, double& value, const std::string& help);
  void number(const std::string& name, std::optional<double>& value, const std::string& help);
  /// `--name` alone means true; `--name true|false` in any case, as the recipe writes it.
  void boolean(const std::string& name, bool& value, const std::string& help);
  void boolean(const std::string& name, std::optional<bool>& value, const std::string& help);
  /// Takes one or more values (`--predict_data a b c`), and may be given again.
  void texts(const std::string& name, std::vector<std::string>& values, const std::string& help);
  /// Words without a flag, in order.
  void positional(const std::string& name, std::vector<std::string>& values,
                  const std::string& help);
  /// A second name of a flag, resolved before prefixes are (`--train_data` for `--train_dataset`).
  void alias(const std::string& alias, const std::string& name);
  /// The flag must be given.
  void require_flag(const std::string& name);
  /// Flags with a dot in their name are collected as overrides instead of refused.
  void allow_overrides(std::vector<std::pair<std::string, std::string>>& overrides);

  /// `arguments` without the program's name. False when help was asked for and printed: the command is done.
  bool parse(const std::vector<std::string>& arguments);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cria
