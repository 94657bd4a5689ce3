#include "checkpoint/convert.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/side_manifest.h"
#include "base/thread_pool.h"
#include "checkpoint/block_stream.h"
#include "checkpoint/gguf_config.h"
#include "formats/compressed_tensors.h"
#include "formats/element_cast.h"
#include "formats/mindspore_ckpt.h"
#include "formats/quantise.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"
#include "model/params.h"
#include "tensor/open_block.h"

namespace cria {
namespace {

// Elements held at once while streaming; far below any tensor of a real model.
constexpr int64_t kChunkElements = 1 << 20;

// A tensor to write: its info in the target's dialect, and where its rows come from.
struct Job {
  TensorInfo info;
  size_t source;
  int64_t pair_head_dim = 0;  // not 0: rows are written in pair order
};

int64_t rows_in(const TensorInfo& t) { return t.shape.size() == 1 ? 1 : t.shape[0]; }

// Rows of whole heads from halves to pairs: the order that GGUF stores.
void to_pair_order(std::span<const std::byte> halves, int64_t head_dim, size_t row_bytes,
                   std::span<std::byte> pairs) {
  const size_t rows = halves.size() / row_bytes;
  for (size_t r = 0; r < rows; ++r) {
    const auto from = static_cast<size_t>(half_row(static_cast<int64_t>(r), head_dim));
    std::copy_n(halves.begin() + static_cast<std::ptrdiff_t>(from * row_bytes), row_bytes,
                pairs.begin() + static_cast<std::ptrdiff_t>(r * row_bytes));
  }
}

void stream_tensor(const WeightRows& weights, const Job& job, TensorWriter& writer) {
  const int64_t cols = job.info.shape.back();
  const int64_t rows = rows_in(job.info);
  int64_t step = std::max<int64_t>(1, kChunkElements / std::max<int64_t>(1, cols));
  if (job.pair_head_dim > 0)
    step = std::max<int64_t>(1, step / job.pair_head_dim) * job.pair_head_dim;
  std::vector<std::byte> buffer, turned;
  for (int64_t r = 0; r < rows; r += step) {
    const int64_t n = std::min(step, rows - r);
    buffer.resize(static_cast<size_t>(bytes_of(job.info.dtype, n * cols)));
    weights.read(job.source, r, n, job.info.dtype, buffer);
    if (job.pair_head_dim > 0) {
      turned.resize(buffer.size());
      to_pair_order(buffer, job.pair_head_dim, static_cast<size_t>(bytes_of(job.info.dtype, cols)),
                    turned);
      buffer.swap(turned);
    }
    writer.write(buffer);
  }
}

// The same with blocks of few bits for rows: those that were chosen already, or else rounded here.
RoundingError stream_as_blocks(const WeightRows& weights, const Job& job,
                               std::optional<std::span<const std::byte>> chosen, ThreadPool& pool,
                               TensorWriter& writer) {
  const int64_t cols = job.info.shape.back();
  const auto row_bytes = static_cast<size_t>(bytes_of(job.info.dtype, cols));
  const auto round = [&](int64_t begin, int64_t count, std::span<const float> numbers,
                         std::span<std::byte> out) {
    if (!chosen) return quantise(job.info.dtype, numbers, out);
    const auto rows = chosen->subspan(static_cast<size_t>(begin) * row_bytes,
                                      static_cast<size_t>(count) * row_bytes);
    if (job.pair_head_dim > 0) return to_pair_order(rows, job.pair_head_dim, row_bytes, out);
    std::ranges::copy(rows, out.begin());
  };
  const auto read = [&](int64_t begin, int64_t count, std::span<float> out) {
    const auto bytes = std::as_writable_bytes(out);
    if (job.pair_head_dim == 0) return weights.read(job.source, begin, count, DType::f32, bytes);
    std::vector<std::byte> halves(bytes.size());
    weights.read(job.source, begin, count, DType::f32, halves);
    to_pair_order(halves, job.pair_head_dim, static_cast<size_t>(cols) * sizeof(float), bytes);
  };
  return stream_blocks({job.info.name, job.info.dtype, rows_in(job.info), cols,
                        std::max<int64_t>(1, job.pair_head_dim)},
                       read, round, pool, writer);
}

std::vector<TensorInfo> infos_of(std::span<const Job> jobs) {
  std::vector<TensorInfo> infos;
  for (const Job& j : jobs) infos.push_back(j.info);
  return infos;
}

// The tensors in the target's names and types, in Hugging Face's order.
std::vector<Job> plan(const WeightRows& weights, const std::optional<LlamaConfig>& config,
                      const ConvertOptions& options) {
  const Dialect dialect = options.format == WeightFormat::mindspore ? Dialect::mindformers
                          : options.format == WeightFormat::gguf    ? Dialect::gguf
                                                                    : Dialect::hugging_face;
  std::vector<Job> jobs;
  size_t embedding = weights.tensors.size();
  bool has_head = false;
  for (size_t i = 0; i < weights.tensors.size(); ++i) {
    const TensorInfo& t = weights.tensors[i];
    const bool head = t.name == "lm_head.weight";
    if (t.name == "model.embed_tokens.weight") embedding = i;
    // Where the reader knows about tying, a second copy of the table would only be in the way.
    if (head && options.format != WeightFormat::mindspore && config && config->tie_word_embeddings)
      continue;
    has_head |= head;
    Job job{{to_dialect(dialect, t.name), target_dtype(t.dtype, options.dtype), t.shape}, i};
    if (options.blocks && t.shape.size() == 2) {
      const DType wanted = wanted_type(options.blocks->types, t);
      job.info.dtype = fitting_type(wanted, t.shape.back(), t.dtype);
      require(dialect == Dialect::gguf || job.info.dtype == wanted,
              "convert: \"{}\": groups of {} do not divide rows of {}; try: groups of 64 or 32",
              t.name, block_elements(wanted), t.shape.back());
    }
    if (options.format == WeightFormat::gguf) {
      if (t.shape.size() == 1) job.info.dtype = DType::f32;  // llama.cpp wants norms in F32
      if (is_rotated(t.name)) {
        require<MismatchError>(t.shape[0] % config->head_dim == 0,
                               "convert: \"{}\" has {} rows, expected whole heads of {}", t.name,
                               t.shape[0], config->head_dim);
        job.pair_head_dim = config->head_dim;
      }
    }
    jobs.push_back(std::move(job));
  }
  if (options.format == WeightFormat::mindspore && options.copy_tied_head && !has_head &&
      embedding < weights.tensors.size()) {
    const TensorInfo& t = weights.tensors[embedding];
    jobs.push_back(
        {{to_dialect(dialect, "lm_head.weight"), target_dtype(t.dtype, options.dtype), t.shape},
         embedding});
  }
  return jobs;
}

// `path` is the writer's file, for the sums beside it.
void write_all(const WeightRows& weights, std::span<const Job> jobs, TensorWriter& writer,
               const std::string& path, const ConvertOptions& options, size_t done, size_t total) {
  std::unique_ptr<ThreadPool> pool;
  if (options.blocks) pool = std::make_unique<ThreadPool>(options.blocks->threads);
  for (const Job& job : jobs) {
    if (is_quantised(job.info.dtype)) {
      std::optional<std::span<const std::byte>> chosen;
      if (options.blocks->chosen) chosen = options.blocks->chosen(weights.tensors[job.source].name);
      const RoundingError error = stream_as_blocks(weights, job, chosen, *pool, writer);
      if (options.blocks->measured) options.blocks->measured(job.info.name, error);
    } else {
      stream_tensor(weights, job, writer);
    }
    if (options.progress) options.progress(job.info.name, job.info.shape, ++done, total);
  }
  remove_side_manifest(path);
  writer.commit();
  write_side_manifest(path);
}

// Cuts the list where a shard would pass the limit; a tensor is never cut.
std::vector<std::span<const Job>> cut_into_shards(const std::vector<Job>& jobs, int64_t max_bytes) {
  std::vector<std::span<const Job>> shards;
  size_t begin = 0;
  int64_t bytes = 0;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const int64_t size = jobs[i].info.size_bytes();
    if (i > begin && bytes + size > max_bytes) {
      shards.emplace_back(jobs.data() + begin, i - begin);
      begin = i;
      bytes = 0;
    }
    bytes += size;
  }
  shards.emplace_back(jobs.data() + begin, jobs.size() - begin);
  return shards;
}

std::string generation_config_json(const LlamaConfig& config) {
  Json json = Json::object();
  if (config.bos_token_id) json["bos_token_id"] = *config.bos_token_id;
  if (config.eos_token_ids.size() == 1) {
    json["eos_token_id"] = config.eos_token_ids[0];
  } else if (!config.eos_token_ids.empty()) {
    json["eos_token_id"] = config.eos_token_ids;
  }
  if (config.pad_token_id) json["pad_token_id"] = *config.pad_token_id;
  return json.dump(2) + "\n";
}

void write_hugging_face(const WeightRows& weights, const LlamaConfig& config,
                        const std::vector<Job>& jobs, const ConvertOptions& options) {
  make_folders(options.output);
  const auto shards = cut_into_shards(jobs, options.max_shard_bytes);
  size_t done = 0;
  Json map = Json::object();
  int64_t total_bytes = 0;
  for (size_t s = 0; s < shards.size(); ++s) {
    const std::string name =
        shards.size() == 1 ? "model.safetensors"
                           : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
    const std::string path = join_path(options.output, name);
    const std::vector<TensorInfo> infos = infos_of(shards[s]);
    const auto writer = options.blocks ? make_compressed_writer(path, infos, {{"format", "pt"}})
                                       : make_safetensors_writer(path, infos, {{"format", "pt"}});
    write_all(weights, shards[s], *writer, path, options, done, jobs.size());
    done += shards[s].size();
    for (const TensorInfo& info : infos) {
      for (const TensorInfo& part : stored_parts(info)) {
        map[part.name] = name;
        total_bytes += part.size_bytes();
      }
    }
  }
  if (shards.size() > 1) {
    Json index = Json::object();
    index["metadata"] = {{"total_size", total_bytes}};
    index["weight_map"] = std::move(map);
    write_file(join_path(options.output, "model.safetensors.index.json"), index.dump(2) + "\n");
  }
  DType stored = jobs.empty() ? DType::f32 : jobs[0].info.dtype;
  std::string config_json = hf_config_json(config, stored);
  if (options.blocks) {
    const DType type = options.blocks->types.matrices;
    config_json =
        with_compressed_config(config_json, {int_group_bits(type), block_elements(type), true});
  }
  write_file(join_path(options.output, "config.json"), config_json);
  write_file(join_path(options.output, "generation_config.json"), generation_config_json(config));
}

void write_gguf(const WeightRows& weights, const LlamaConfig& config, const std::vector<Job>& jobs,
                const ConvertOptions& options) {
  const DType mostly = options.blocks ? options.blocks->types.matrices
                       : jobs.empty() ? DType::f32
                                      : jobs[0].info.dtype;
  GgufMetadata metadata = gguf_config_metadata(config, mostly, options.name);
  metadata.insert(metadata.end(), options.tokenizer_metadata.begin(),
                  options.tokenizer_metadata.end());
  // llama.cpp wants to be told, else it does not load the file.
  if (options.tokenizer_metadata.empty())
    metadata.emplace_back("tokenizer.ggml.model", std::string("none"));
  std::vector<TensorInfo> infos = infos_of(jobs);
  const std::vector<float> divisors = gguf_rope_divisors(config);
  if (!divisors.empty())
    infos.insert(infos.begin(),
                 {"rope_freqs.weight", DType::f32, {static_cast<int64_t>(divisors.size())}});
  const auto writer = make_gguf_writer(options.output, metadata, infos);
  if (!divisors.empty()) writer->write(std::as_bytes(std::span(divisors)));
  write_all(weights, jobs, *writer, options.output, options, 0, jobs.size());
}

}  // namespace

double RoundingError::relative() const {
  return squares > 0 ? std::sqrt(squared_differences / squares) : 0;
}

RoundingError& RoundingError::operator+=(const RoundingError& other) {
  squared_differences += other.squared_differences;
  squares += other.squares;
  return *this;
}

DType target_dtype(DType stored, std::optional<DType> wanted) {
  if (wanted) return *wanted;
  return is_quantised(stored) ? DType::bf16 : stored;
}

DType parse_dtype(std::string_view text, std::string_view flag) {
  if (text == "fp32" || text == "float32" || text == "f32") return DType::f32;
  if (text == "fp16" || text == "float16" || text == "f16") return DType::f16;
  if (text == "bf16" || text == "bfloat16") return DType::bf16;
  throw UsageError(
      fmt::format("{}: unknown dtype \"{}\", expected fp32, bf16 or fp16", flag, escaped(text)));
}

WeightRows rows_of(const WeightSource& source) {
  return {source.tensors(),
          [&source](size_t i, int64_t begin, int64_t count, DType dtype, std::span<std::byte> out) {
            source.read_rows(i, begin, count, dtype, out);
          }};
}

WeightRows rows_of(const ParamArena& weights) {
  WeightRows rows;
  for (const Param& p : weights.params())
    rows.tensors.push_back({p.name, weights.dtype(), p.shape});
  rows.read = [&weights](size_t i, int64_t begin, int64_t count, DType dtype,
                         std::span<std::byte> out) {
    const auto number = static_cast<int64_t>(i);
    if (dtype == weights.dtype()) return weights.read_rows(number, begin, out);
    const int64_t elements = count * weights[number].cols;
    std::vector<std::byte> stored(static_cast<size_t>(bytes_of(weights.dtype(), elements)));
    weights.read_rows(number, begin, stored);
    std::vector<float> wide(static_cast<size_t>(elements));
    to_f32(weights.dtype(), stored, wide);
    from_f32(wide, dtype, out);
  };
  return rows;
}

void convert_weights(const WeightRows& weights, const std::optional<LlamaConfig>& config,
                     const ConvertOptions& options) {
  const bool needs_config =
      options.format == WeightFormat::hugging_face || options.format == WeightFormat::gguf;
  require(!needs_config || config.has_value(),
          "convert: the target needs a configuration, and the weights carry none; try: --config "
          "config.json");
  if (options.blocks) {
    const auto& [matrices, embedding, head] = options.blocks->types;
    const bool groups = is_int_group(matrices);
    check(options.format == (groups ? WeightFormat::hugging_face : WeightFormat::gguf),
          "groups become a folder, other blocks a GGUF");
    check(groups ? !is_quantised(embedding) && !is_quantised(head)
                 : !is_int_group(embedding) && !is_int_group(head),
          "the ends are of types that the file has");
  }
  const std::vector<Job> jobs = plan(weights, config, options);
  switch (options.format) {
    case WeightFormat::hugging_face:
      write_hugging_face(weights, *config, jobs, options);
      break;
    case WeightFormat::gguf:
      write_gguf(weights, *config, jobs, options);
      break;
    case WeightFormat::torch:
      write_all(weights, jobs, *make_torch_writer(options.output, infos_of(jobs)), options.output,
                options, 0, jobs.size());
      break;
    case WeightFormat::mindspore:
      write_all(weights, jobs, *make_mindspore_ckpt_writer(options.output, infos_of(jobs)),
                options.output, options, 0, jobs.size());
      break;
  }
}

}  // namespace cria
