// Sets of safetensors files behind one index.
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/safetensors.h"

namespace cria {
namespace {

[[noreturn]] void fail(const std::string& path, std::string reason, std::string expected = {},
                       std::string found = {}) {
  throw FormatError(describe({.what = "safetensors index",
                              .path = path,
                              .reason = std::move(reason),
                              .expected = std::move(expected),
                              .found = std::move(found)}));
}

class ShardedSafetensors : public SafetensorsReader {
 public:
  explicit ShardedSafetensors(const std::string& path) {
    SafetensorsIndex index = parse_safetensors_index(read_text(path), path);
    metadata_ = std::move(index.metadata);
    std::map<std::string, std::string> shard_of;  // by tensor
    std::map<std::string, size_t> expected;       // tensors by shard
    for (auto& [name, shard] : index.weight_map) {
      ++expected[shard];
      shard_of.emplace(name, shard);
    }
    std::vector<TensorInfo> all;
    for (const auto& [shard, count] : expected) {
      auto reader = open_safetensors(join_path(parent_folder(path), shard));
      for (size_t i = 0; i < reader->tensors().size(); ++i) {
        const TensorInfo& info = reader->tensors()[i];
        const auto it = shard_of.find(info.name);
        if (it == shard_of.end() || it->second != shard)
          fail(path, fmt::format("tensor \"{}\" is in {}", escaped(info.name), escaped(shard, 100)),
               it == shard_of.end() ? "no such tensor" : "it in " + escaped(it->second, 100));
        all.push_back(info);
        places_.emplace_back(shards_.size(), i);
      }
      if (reader->tensors().size() != count) fail_missing(path, *reader, index, shard);
      shards_.push_back(std::move(reader));
    }
    set_tensors(std::move(all), path);
  }
  void read(size_t index, uint64_t offset, std::span<std::byte> out) const override {
    const auto [shard, inside] = places_.at(index);
    shards_[shard]->read(inside, offset, out);
  }
  std::span<const std::byte> mapped(size_t index) const override {
    const auto [shard, inside] = places_.at(index);
    return shards_[shard]->mapped(inside);
  }
  std::string path_of(size_t index) const override {
    return shards_[places_.at(index).first]->path_of(places_[index].second);
  }
  const SafetensorsMetadata& metadata() const override { return metadata_; }

 private:
  [[noreturn]] static void fail_missing(const std::string& path, const TensorReader& reader,
                                        const SafetensorsIndex& index, const std::string& shard) {
    for (const auto& [name, home] : index.weight_map) {
      if (home == shard && !reader.find(name))
        fail(path, fmt::format("tensor \"{}\" is not in {}", escaped(name), escaped(shard, 100)));
    }
    fail(path, "its names and those of its shards differ");
  }

  std::vector<std::unique_ptr<SafetensorsReader>> shards_;
  std::vector<std::pair<size_t, size_t>> places_;  // by tensor: shard, index in it
  SafetensorsMetadata metadata_;
};

}  // namespace

SafetensorsIndex parse_safetensors_index(std::string_view text, const std::string& path) {
  const Json json = parse_json(text, "safetensors index", path);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    fail(path, "no weight_map", "{\"weight_map\": {tensor: file}}");
  SafetensorsIndex index;
  for (const auto& [name, shard] : json["weight_map"].items()) {
    if (!shard.is_string() || !is_plain_name(shard.get<std::string>()))
      fail(path, fmt::format("tensor \"{}\" has no plain file name", escaped(name)),
           "a name in the same folder", escaped(shard.dump()));
    index.weight_map.emplace_back(name, shard.get<std::string>());
  }
  if (json.contains("metadata")) {
    if (!json["metadata"].is_object()) fail(path, "metadata is no object");
    for (const auto& [key, value] : json["metadata"].items())
      index.metadata.emplace(key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return index;
}

std::string safetensors_index_json(const SafetensorsIndex& index, uint64_t total_size) {
  nlohmann::ordered_json json;
  for (const auto& [key, value] : index.metadata) json["metadata"][key] = value;
  json["metadata"]["total_size"] = total_size;
  json["weight_map"] = nlohmann::ordered_json::object();
  for (const auto& [name, shard] : index.weight_map) json["weight_map"][name] = shard;
  return json.dump(2) + "\n";
}

std::unique_ptr<SafetensorsReader> open_safetensors_index(const std::string& path) {
  return std::make_unique<ShardedSafetensors>(path);
}

}  // namespace cria
