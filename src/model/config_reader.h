// Typed access to the settings of a JSON object from outside: each value is checked for its kind, and a message names file
// and key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace cria::internal {

/// Borrows the object and the texts; a key that is missing or null counts as not given.
class ConfigReader {
 public:
  /// `section` is put before keys in messages ("rope_scaling."). Throws FormatError when `object` is no JSON object.
  ConfigReader(const Json& object, std::string_view path, std::string section = {});

  [[nodiscard]] bool has(const char* key) const { return find(key) != nullptr; }
  /// Whole numbers only (1.0 is none); FormatError otherwise.
  [[nodiscard]] std::optional<int64_t> integer(const char* key) const;
  [[nodiscard]] int64_t required_integer(const char* key) const;
  [[nodiscard]] std::optional<double> number(const char* key) const;
  [[nodiscard]] std::optional<bool> boolean(const char* key) const;
  [[nodiscard]] std::optional<std::string> text(const char* key) const;
  /// The value itself, or null when not given.
  [[nodiscard]] const Json* find(const char* key) const;
  /// FormatError: `<path>: "<key>", expected <expected>, found <value>`.
  [[noreturn]] void fail(const char* key, std::string_view expected) const;
  /// UsageError for a value that is well-formed but beyond what this program does.
  [[noreturn]] void unsupported(const char* key, std::string_view expected) const;

 private:
  [[nodiscard]] std::string describe_fault(const char* key, std::string_view reason,
                                           std::string_view expected) const;
  const Json& object_;
  std::string_view path_;
  std::string section_;
};

/// A 32-bit token id, or FormatError.
int32_t token_id_of(const ConfigReader& reader, const char* key, int64_t id);

}  // namespace cria::internal
