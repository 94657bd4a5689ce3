#include "base/side_manifest.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"

namespace cria {
namespace {

constexpr std::string_view kFormat = "cria sums";
constexpr int kVersion = 1;
constexpr std::string_view kWhat = "compare with sums";

[[noreturn]] void fail(const std::string& path, std::string reason, std::string hint = {}) {
  throw FormatError(describe(
      {.what = kWhat, .path = path, .reason = std::move(reason), .hint = std::move(hint)}));
}

// What to do when file and sums differ and the file is not at fault.
std::string hint_for(const std::string& manifest_path) {
  return fmt::format("make the file again, or remove {} if the file was replaced on purpose",
                     base_name(manifest_path));
}

SideManifest read_manifest(const std::string& path) {
  return parse_side_manifest(read_text(path), path);
}

void check_file(const SideManifest& manifest, const std::string& manifest_path,
                const std::string& path, ThreadPool& pool) {
  const auto found = manifest.find(base_name(path));
  if (found == manifest.end())
    fail(path,
         fmt::format("{} does not list this file: it belongs to another set",
                     base_name(manifest_path)),
         "remove what is left of the older set");
  const MappedFile file(path);
  check_sums(file.bytes(), found->second, path, pool, kWhat, hint_for(manifest_path));
}

}  // namespace

std::string side_manifest_text(const SideManifest& files) {
  Json json = {{"format", kFormat}, {"version", kVersion}, {"block_bytes", FileSums::kBlockBytes}};
  Json list = Json::object();
  for (const auto& [name, sums] : files) list[name] = sums_json(sums);
  json["files"] = std::move(list);
  return with_own_sum(json.dump());
}

SideManifest parse_side_manifest(std::string_view text, const std::string& path) {
  const std::string_view body = check_own_sum(text, kWhat, path);
  const Json json = parse_json(body, kWhat, path, body.data() - text.data());
  SideManifest files;
  try {
    if (json.at("format").get<std::string>() != kFormat || json.at("version") != kVersion ||
        json.at("block_bytes") != FileSums::kBlockBytes)
      fail(path, fmt::format("not version {} of our sums", kVersion));
    for (const auto& [name, sums] : json.at("files").items()) {
      if (!is_plain_name(name))
        fail(path, fmt::format("\"{}\" is not a plain file name", escaped(name)));
      files[name] = sums_from_json(sums, kWhat, path);
    }
  } catch (const nlohmann::json::exception& e) {
    fail(path, escaped(e.what(), 120));
  }
  return files;
}

void write_side_manifest(const std::string& path) {
  ThreadPool pool;
  const MappedFile file(path);
  write_file(path + std::string(kSumsSuffix),
             side_manifest_text({{base_name(path), sums_of(file.bytes(), pool)}}));
}

void remove_side_manifest(const std::string& path) {
  const std::string manifest = path + std::string(kSumsSuffix);
  if (unlink(manifest.c_str()) == 0) {
    sync_folder(parent_folder(path));
  } else if (errno != ENOENT && errno != ENOTDIR) {
    throw IoError(describe({.what = "remove", .path = manifest, .reason = std::strerror(errno)}));
  }
}

std::string find_side_manifest(const std::string& path) {
  std::string own = path + std::string(kSumsSuffix);
  if (is_file(own)) return own;
  const size_t last = path.find_last_not_of("0123456789");
  if (last == std::string::npos || last + 1 == path.size() || path[last] == '/') return {};
  std::string of_set = path.substr(0, last + 1) + std::string(kSumsSuffix);
  return is_file(of_set) ? of_set : std::string();
}

bool check_side_manifest(const std::string& path) {
  const std::string manifest = find_side_manifest(path);
  if (manifest.empty()) return false;
  check_listed_file(manifest, path);
  return true;
}

void check_listed_files(const std::string& manifest_path) {
  ThreadPool pool;
  const SideManifest manifest = read_manifest(manifest_path);
  for (const auto& [name, sums] : manifest) {
    const std::string path = join_path(parent_folder(manifest_path), name);
    if (!is_file(path)) fail(path, "the file is missing: the set is incomplete", "make it again");
    check_file(manifest, manifest_path, path, pool);
  }
}

void check_listed_file(const std::string& manifest_path, const std::string& path) {
  ThreadPool pool;
  check_file(read_manifest(manifest_path), manifest_path, path, pool);
}

}  // namespace cria
