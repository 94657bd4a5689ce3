// Finding out what lies at a path, opening its files, and giving every tensor its Hugging Face name, shape and row order.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/side_manifest.h"
#include "checkpoint/checkpoint_files.h"
#include "checkpoint/ckpt_name.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/sliced_ckpt.h"
#include "checkpoint/weight_source.h"
#include "formats/compressed_tensors.h"
#include "formats/mindspore_ckpt.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"

namespace cria {
namespace {

std::string without_trailing_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::vector<std::string> files_ending(const std::string& folder, std::string_view suffix) {
  std::vector<std::string> out;
  for (const std::string& name : list_files(folder)) {
    if (name.ends_with(suffix)) out.push_back(join_path(folder, name));
  }
  return out;
}

// MindFormers' `prefix_rank_0-<epoch>_<step>.ckpt`: the newest is the one with the highest numbers, never the newest by clock.
std::string newest_ckpt(const std::vector<std::string>& paths) {
  const auto key = [](const std::string& path) {
    const std::string name = base_name(path);
    const auto parsed = parse_ckpt_name(name);
    return parsed ? std::tuple(parsed->epoch, parsed->step, name)
                  : std::tuple(int64_t{-1}, int64_t{-1}, name);
  };
  return *std::max_element(paths.begin(), paths.end(),
                           [&](const auto& a, const auto& b) { return key(a) < key(b); });
}

std::string first_bytes(const std::string& path, size_t count) {
  const MappedFile file(path);
  return std::string(file.text().substr(0, count));
}

// `weight_map` of a .bin index: which shard files belong to the set.
std::vector<std::string> shards_of_index(const std::string& index) {
  const Json json = parse_json(read_text(index), "index", index);
  require<FormatError>(
      json.is_object() && json.contains("weight_map") && json["weight_map"].is_object(),
      "index: {}: no object \"weight_map\"", index);
  std::vector<std::string> shards;
  for (const auto& [name, file] : json["weight_map"].items()) {
    require<FormatError>(file.is_string() && is_plain_name(file.get<std::string>()),
                         "index: {}: shard of \"{}\" is not a plain file name", index,
                         escaped(name));
    shards.push_back(join_path(parent_folder(index), file.get<std::string>()));
  }
  std::sort(shards.begin(), shards.end());
  shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
  return shards;
}

}  // namespace

void WeightSource::add_file(const std::shared_ptr<const TensorReader>& stored) {
  const auto file = compressed_.empty() ? stored : open_compressed(stored, compressed_);
  std::set<std::string> paths;
  for (size_t i = 0; i < file->tensors().size(); ++i) {
    if (paths.insert(file->path_of(i)).second) check_side_manifest(file->path_of(i));
  }
  files_.push_back(file);
}

void WeightSource::read_config(const std::string& file) {
  const std::string text = read_text(file);
  config_ = parse_hf_config(text, file);
  compressed_ = parse_compressed_config(text, file).value_or(std::vector<CompressedGroup>());
}

void WeightSource::open_gguf(const std::string& file) {
  std::shared_ptr<GgufReader> reader = GgufReader::open(file);
  config_ = config_from_gguf(*reader);
  tokenizer_path_ = file;
  add_file(reader);
}

void WeightSource::open_meta(const std::string& folder) {
  const std::string params = join_path(folder, "params.json");
  config_ = parse_meta_params(read_text(params), params);
  const std::vector<std::string> shards = files_ending(folder, ".pth");
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("consolidated.{:02}.pth", i);
    // Parts are joined in order: a hole would shift all that follows.
    require<FormatError>(shards.size() == 1 || base_name(shards[i]) == name,
                         "weights: {}: {} files of Meta's form, but no {}", folder, shards.size(),
                         name);
    add_file(open_torch(shards[i]));
  }
  tokenizer_path_ = folder;
}

void WeightSource::open_folder(const std::string& folder) {
  const auto in = [&](const char* name) { return join_path(folder, name); };
  const bool hugging_face = is_file(in("config.json"));
  if (!hugging_face && is_file(in("params.json")) && !files_ending(folder, ".pth").empty())
    return open_meta(folder);
  if (hugging_face) {
    read_config(in("config.json"));
    if (is_file(in("generation_config.json"))) {
      // What ends a reply is said there at times, and only there.
      const Json json = parse_json(read_text(in("generation_config.json")), "config",
                                   in("generation_config.json"));
      if (json.is_object() && json.contains("eos_token_id")) {
        const Json& eos = json["eos_token_id"];
        for (const Json& id : eos.is_array() ? eos : Json::array({eos})) {
          if (!id.is_number_integer()) continue;
          const auto value = id.get<int64_t>();
          auto& known = config_->eos_token_ids;
          if (value < 0 || value >= config_->vocab_size) continue;
          if (std::find(known.begin(), known.end(), static_cast<int32_t>(value)) == known.end())
            known.push_back(static_cast<int32_t>(value));
        }
      }
    }
    tokenizer_path_ = folder;
  }
  if (is_file(in("model.safetensors.index.json")))
    return add_file(open_safetensors_index(in("model.safetensors.index.json")));
  if (is_file(in("model.safetensors"))) return add_file(open_safetensors(in("model.safetensors")));
  // Slices of several ranks; the manifest says how they join.
  if (hugging_face && is_file(in("manifest.json")))
    return add_file(open_checkpoint_weights(folder));
  if (is_file(in("pytorch_model.bin.index.json"))) {
    for (const std::string& shard : shards_of_index(in("pytorch_model.bin.index.json")))
      add_file(open_torch(shard));
    return;
  }
  if (is_file(in("pytorch_model.bin"))) return add_file(open_torch(in("pytorch_model.bin")));
  if (const auto ckpt = files_ending(folder, ".ckpt"); !ckpt.empty()) {
    for (const std::string& file : ckpt) add_file(open_mindspore_ckpt(file));
    return;
  }
  if (is_folder(in("rank_0"))) {
    require(
        !is_folder(in("rank_1")),
        "weights: {}: sliced over several ranks; try: src_strategy_path_or_dir (--src_strategy) "
        "with the ranks' strategy files, or one rank's .ckpt where each holds everything",
        folder);
    const auto ranked = files_ending(in("rank_0"), ".ckpt");
    require(!ranked.empty(), "weights: {}: no .ckpt file in rank_0", folder);
    return add_file(open_mindspore_ckpt(newest_ckpt(ranked)));
  }
  for (const char* suffix : {".safetensors", ".gguf"}) {
    const auto files = files_ending(folder, suffix);
    if (files.empty()) continue;
    require(files.size() == 1, "weights: {}: {} {} files and no index; try: the path of one",
            folder, files.size(), suffix);
    if (std::string_view(suffix) == ".gguf") return open_gguf(files[0]);
    return add_file(open_safetensors(files[0]));
  }
  throw UsageError(
      fmt::format("weights: {}: no weights in this folder, expected model.safetensors, "
                  "pytorch_model.bin, consolidated.*.pth with params.json, *.ckpt or *.gguf",
                  folder));
}

WeightSource WeightSource::open(const std::string& user_path,
                                const std::optional<LlamaConfig>& config) {
  WeightSource source;
  source.path_ = without_trailing_slash(user_path);
  const std::string& path = source.path_;
  if (is_folder(path)) {
    source.open_folder(path);
  } else {
    const std::string magic = first_bytes(path, 4);
    const std::string beside = join_path(parent_folder(path), "config.json");
    if (magic == "GGUF") {
      source.open_gguf(path);
    } else if (path.ends_with(".ckpt")) {
      source.add_file(open_mindspore_ckpt(path));
    } else if (path.ends_with(".json")) {
      source.open_folder(parent_folder(path));
    } else {
      const bool torch = magic.starts_with("PK");
      const bool meta =
          torch && path.ends_with(".pth") && is_file(join_path(parent_folder(path), "params.json"));
      if (!meta && is_file(beside)) source.read_config(beside);
      if (meta) {
        source.open_meta(parent_folder(path));
      } else if (torch) {
        source.add_file(open_torch(path));
      } else {
        source.add_file(open_safetensors(path));
      }
    }
  }
  source.finish(config);
  return source;
}

WeightSource WeightSource::open_slices(const std::string& folder, Strategy strategy,
                                       const std::optional<LlamaConfig>& config) {
  WeightSource source;
  source.path_ = without_trailing_slash(folder);
  source.files_.push_back(open_sliced_ckpt(source.path_, std::move(strategy)));
  source.finish(config);
  return source;
}

void WeightSource::finish(const std::optional<LlamaConfig>& given) {
  config_is_own_ = config_.has_value();
  if (!config_) config_ = given;
  std::vector<TensorInfo> all;
  for (const auto& file : files_)
    all.insert(all.end(), file->tensors().begin(), file->tensors().end());
  const auto dialect = detect_dialect(all);
  require<MismatchError>(dialect.has_value(),
                         "weights: {}: none of its {} tensors has a name of Llama", path_,
                         all.size());
  dialect_ = *dialect;

  struct Found {
    TensorInfo info;
    Place place;
  };
  std::map<std::string, Found> found;
  const bool shards_join = dialect_ == Dialect::meta;
  for (const auto& file : files_) {
    for (size_t i = 0; i < file->tensors().size(); ++i) {
      const TensorInfo& t = file->tensors()[i];
      const auto name = from_dialect(dialect_, t.name);
      if (!name) {
        others_.push_back(t.name);
        continue;
      }
      require<FormatError>(is_float(t.dtype) || is_quantised(t.dtype),
                           "weights: {}: \"{}\" is of type {}, expected a float type",
                           file->path_of(i), escaped(t.name), name_of(t.dtype));
      require<FormatError>(t.shape.size() == 1 || t.shape.size() == 2,
                           "weights: {}: \"{}\" has {} dims, expected 1 or 2", file->path_of(i),
                           escaped(t.name), t.shape.size());
      const auto [it, fresh] = found.try_emplace(*name);
      if (fresh) it->second.info = {*name, t.dtype, t.shape};
      require<FormatError>(fresh || (shards_join && it->second.info.dtype == t.dtype),
                           "weights: {}: \"{}\" is in several files", path_, escaped(t.name));
      it->second.place.pieces.push_back({file, i});
    }
  }
  if (config_ && config_->vocab_size <= 0) {
    // Meta's params.json may leave it out. Llama 3 shards the table by rows; earlier models by columns.
    const auto embedding = found.find("model.embed_tokens.weight");
    require<FormatError>(embedding != found.end() && embedding->second.info.shape.size() == 2,
                         "weights: {}: no embedding table of 2 dims", path_);
    const auto& e = embedding->second;
    config_->vocab_size =
        e.info.shape[0] *
        (e.info.shape[1] == config_->hidden_size ? static_cast<int64_t>(e.place.pieces.size()) : 1);
    validate(*config_, path_);
  }
  for (auto& [name, f] : found) {
    const auto shards = static_cast<int64_t>(f.place.pieces.size());
    if (f.info.shape.size() == 1) {
      f.place.pieces.resize(1);  // norms are the same in every shard
    } else if (shards > 1) {
      for (const Piece& p : f.place.pieces) {
        require<FormatError>(p.file->tensors()[p.index].shape == f.info.shape,
                             "weights: {}: shards of \"{}\" differ in shape", path_, name);
      }
      const bool by_columns =
          name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") ||
          (name == "model.embed_tokens.weight" && f.info.shape[1] != config_->hidden_size);
      f.place.dim = by_columns ? 1 : 0;
      f.info.shape[static_cast<size_t>(f.place.dim)] *= shards;
    }
    if (rotates_pairs(dialect_) && is_rotated(name)) {
      f.place.pair_head_dim = config().head_dim;
      require<FormatError>(
          f.info.shape.size() == 2 && f.info.shape[0] / shards % config().head_dim == 0,
          "weights: {}: \"{}\" has {} rows, expected whole heads of {}", path_, name,
          f.info.shape[0], config().head_dim);
    }
  }
  std::vector<std::string> order;
  for (const auto& [name, f] : found) order.push_back(name);
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return hf_order(a) < hf_order(b); });
  for (const std::string& name : order) {
    tensors_.push_back(found[name].info);
    places_.push_back(found[name].place);
  }
}

}  // namespace cria
