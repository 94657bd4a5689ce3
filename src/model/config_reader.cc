#include "model/config_reader.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace cria::internal {

ConfigReader::ConfigReader(const Json& object, std::string_view path, std::string section)
    : object_(object), path_(path), section_(std::move(section)) {
  if (!object.is_object()) {
    throw FormatError(describe({.what = "config",
                                .path = path_,
                                .reason = section_.empty() ? "the file" : section_,
                                .expected = "a JSON object",
                                .found = object.type_name()}));
  }
}

const Json* ConfigReader::find(const char* key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

std::string ConfigReader::describe_fault(const char* key, std::string_view reason,
                                         std::string_view expected) const {
  const Json* value = find(key);
  return describe({.what = "config",
                   .path = path_,
                   .reason = fmt::format("\"{}{}\"{}", section_, key, reason),
                   .expected = std::string(expected),
                   .found = value ? escaped(value->dump(), 80) : "nothing"});
}

void ConfigReader::fail(const char* key, std::string_view expected) const {
  throw FormatError(describe_fault(key, "", expected));
}

void ConfigReader::unsupported(const char* key, std::string_view expected) const {
  throw UsageError(describe_fault(key, " is not supported", expected));
}

std::optional<int64_t> ConfigReader::integer(const char* key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  const bool fits = value->is_number_integer() &&
                    !(value->is_number_unsigned() &&
                      value->get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()});
  if (!fits) fail(key, "a whole number");
  return value->get<int64_t>();
}

int64_t ConfigReader::required_integer(const char* key) const {
  const auto value = integer(key);
  if (!value) fail(key, "a whole number");
  return *value;
}

std::optional<double> ConfigReader::number(const char* key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_number()) fail(key, "a number");
  return value->get<double>();
}

std::optional<bool> ConfigReader::boolean(const char* key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_boolean()) fail(key, "true or false");
  return value->get<bool>();
}

std::optional<std::string> ConfigReader::text(const char* key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_string()) fail(key, "a string");
  return value->get<std::string>();
}

int32_t token_id_of(const ConfigReader& reader, const char* key, int64_t id) {
  if (id < 0 || id > std::numeric_limits<int32_t>::max()) reader.fail(key, "a token id");
  return static_cast<int32_t>(id);
}

}  // namespace cria::internal
