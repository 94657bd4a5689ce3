// The manifest's text: made, and read with every promise checked.
#include "checkpoint/manifest.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace cria {
namespace {

constexpr std::string_view kFormat = "cria training checkpoint";
constexpr int kVersion = 2, kWholeGroupsVersion = 1;

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

Json groups_json(const Manifest& m) {
  Json groups = Json::object();
  for (const auto& [group, tensors] : m.groups) {
    Json list = Json::object();
    for (const auto& [name, t] : tensors) {
      Json boxes = Json::array();
      for (const StoredBox& b : t.boxes)
        boxes.push_back({{"file", b.file}, {"begin", b.begin}, {"size", b.size}});
      list[name] = {{"dtype", name_of(t.dtype)}, {"shape", t.shape}, {"boxes", std::move(boxes)}};
    }
    groups[group] = std::move(list);
  }
  return groups;
}

// Sizes of 1 or more that multiply without overflow, and the box inside.
bool valid_box(const StoredBox& b, const std::vector<int64_t>& shape) {
  if (b.begin.size() != shape.size() || b.size.size() != shape.size()) return false;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (b.begin[d] < 0 || b.size[d] < 1 || b.size[d] > shape[d] ||
        b.begin[d] > shape[d] - b.size[d])
      return false;
  }
  return true;
}

bool valid_shape(const std::vector<int64_t>& shape) {
  if (shape.empty() || shape.size() > 2) return false;
  uint64_t elements = sizeof(double);
  for (const int64_t n : shape) {
    if (n < 1) return false;
    const auto product = checked_mul(elements, static_cast<uint64_t>(n));
    if (!product || *product > INT64_MAX) return false;
    elements = *product;
  }
  return true;
}

StoredTensor read_tensor(const Json& json, const std::string& name, const std::string& path) {
  StoredTensor t;
  const auto dtype = dtype_from_name(json.at("dtype").get<std::string>());
  t.shape = json.at("shape").get<std::vector<int64_t>>();
  if (!dtype || is_quantised(*dtype) || !valid_shape(t.shape))
    throw broken(path, fmt::format("\"{}\" has no dtype or shape we know", escaped(name, 80)));
  t.dtype = *dtype;
  for (const Json& box : json.at("boxes")) {
    t.boxes.push_back({box.at("begin").get<std::vector<int64_t>>(),
                       box.at("size").get<std::vector<int64_t>>(),
                       box.at("file").get<std::string>()});
    if (!valid_box(t.boxes.back(), t.shape))
      throw broken(path, fmt::format("a box of \"{}\" is not inside it", escaped(name, 80)));
  }
  return t;
}

void read_groups(const Json& json, int version, const std::string& path, Manifest& m) {
  for (const auto& [group, value] : json.items()) {
    if (version == kWholeGroupsVersion) {
      m.whole_groups[group] = value.get<std::string>();
      continue;
    }
    StoredGroup& tensors = m.groups[group];
    for (const auto& [name, tensor] : value.items())
      tensors[name] = read_tensor(tensor, name, path);
  }
}

void read_body(const Json& json, const std::string& path, Manifest& m) {
  const int version = whole_number<int>(json.at("version"), path);
  if (json.at("format").get<std::string>() != kFormat ||
      (version != kVersion && version != kWholeGroupsVersion))
    throw broken(path,
                 fmt::format("not version {} or {} of our format", kWholeGroupsVersion, kVersion));
  m.step = whole_number<int64_t>(json.at("step"), path);
  m.config_sha256 = json.at("config_sha256").get<std::string>();
  if (json.at("block_bytes") != FileSums::kBlockBytes) throw broken(path, "unknown size of blocks");
  const Json& topology = json.at("topology");
  m.dp = whole_number<int>(topology.at("dp"), path);
  m.tp = whole_number<int>(topology.at("tp"), path);
  m.pp = whole_number<int>(topology.at("pp"), path);
  for (const auto& [name, sums] : json.at("files").items()) {
    if (!is_plain_name(name))
      throw broken(path, fmt::format("\"{}\" is not a plain file name", escaped(name)));
    m.files[name] = sums_from_json(sums, "checkpoint", path);
  }
  read_groups(json.at("groups"), version, path, m);
  m.state_json = json.at("state").dump();
}

void check_files_listed(const Manifest& m, const std::string& path) {
  const auto check = [&](const std::string& group, const std::string& file) {
    if (!m.files.contains(file))
      throw broken(path,
                   fmt::format("group \"{}\" names a file that is not listed", escaped(group)));
  };
  for (const auto& [group, file] : m.whole_groups) check(group, file);
  for (const auto& [group, tensors] : m.groups)
    for (const auto& [name, tensor] : tensors)
      for (const StoredBox& box : tensor.boxes) check(group, box.file);
}

}  // namespace

std::string manifest_text(const Manifest& m) {
  Json json = Json::object();
  json["format"] = kFormat;
  json["version"] = kVersion;
  json["step"] = m.step;
  json["config_sha256"] = m.config_sha256;
  json["topology"] = {{"dp", m.dp}, {"tp", m.tp}, {"pp", m.pp}};
  json["groups"] = groups_json(m);
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
    read_body(json, path, m);
  } catch (const nlohmann::json::exception& e) {
    throw broken(path, escaped(e.what(), 120));
  }
  check_files_listed(m, path);
  return m;
}

}  // namespace cria
