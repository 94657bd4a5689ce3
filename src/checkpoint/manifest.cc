#include "checkpoint/manifest.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace cria {
namespace {

constexpr std::string_view kFormat = "cria training checkpoint";
constexpr int kVersion = 1;

FormatError broken(const std::string& path, std::string reason) {
  return FormatError(describe({.what = "checkpoint", .path = path, .reason = std::move(reason)}));
}

// nlohmann itself would turn fractions, negative and too large numbers into others without a word.
template <class T>
T whole_number(const Json& value, const std::string& path) {
  if (!value.is_number_unsigned() ||
      value.get<uint64_t>() > uint64_t{std::numeric_limits<T>::max()})
    throw broken(path, fmt::format("{} is no whole number of its kind", escaped(value.dump(), 40)));
  return value.get<T>();
}

}  // namespace

std::string manifest_text(const Manifest& m) {
  Json json = Json::object();
  json["format"] = kFormat;
  json["version"] = kVersion;
  json["step"] = m.step;
  json["config_sha256"] = m.config_sha256;
  json["topology"] = {{"dp", 1}, {"tp", 1}, {"pp", 1}};
  json["groups"] = Json(m.groups);
  json["block_bytes"] = FileSums::kBlockBytes;
  Json files = Json::object();
  for (const auto& [name, sums] : m.files) files[name] = sums_json(sums);
  json["files"] = std::move(files);
  json["state"] = Json::parse(m.state_json);
  return with_own_sum(json.dump());
}

Manifest parse_manifest(std::string_view text, const std::string& path) {
  const std::string_view body = check_own_sum(text, "checkpoint", path);
  const Json json = parse_json(body, "checkpoint", path, body.data() - text.data());
  Manifest m;
  try {
    if (json.at("format").get<std::string>() != kFormat || json.at("version") != kVersion)
      throw broken(path, fmt::format("not version {} of our format", kVersion));
    m.step = whole_number<int64_t>(json.at("step"), path);
    m.config_sha256 = json.at("config_sha256").get<std::string>();
    if (json.at("block_bytes") != FileSums::kBlockBytes)
      throw broken(path, "unknown size of blocks");
    for (const auto& [group, file] : json.at("groups").items())
      m.groups[group] = file.get<std::string>();
    for (const auto& [name, sums] : json.at("files").items()) {
      if (!is_plain_name(name))
        throw broken(path, fmt::format("\"{}\" is not a plain file name", escaped(name)));
      m.files[name] = sums_from_json(sums, "checkpoint", path);
    }
    m.state_json = json.at("state").dump();
  } catch (const nlohmann::json::exception& e) {
    throw broken(path, escaped(e.what(), 120));
  }
  for (const auto& [group, file] : m.groups) {
    if (!m.files.contains(file))
      throw broken(path,
                   fmt::format("group \"{}\" names a file that is not listed", escaped(group)));
  }
  return m;
}

}  // namespace cria
