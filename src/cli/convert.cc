// cria convert and the recipe's convert_weight: the same converter behind two sets of flags.
#include "checkpoint/convert.h"

#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "cli/commands.h"
#include "cli/open_model.h"
#include "cli/tokenizer_files.h"
#include "model/params.h"
#include "tokenizer/load.h"

namespace cria::cli {
namespace {

WeightFormat format_of(const std::string& to, const std::string& output) {
  if (to == "hf") return WeightFormat::hugging_face;
  if (to == "ckpt") return WeightFormat::mindspore;
  if (to == "gguf") return WeightFormat::gguf;
  if (to == "torch") return WeightFormat::torch;
  require(to.empty(), "convert: unknown format \"{}\", expected hf, ckpt, gguf or torch",
          escaped(to));
  if (output.ends_with(".ckpt")) return WeightFormat::mindspore;
  if (output.ends_with(".gguf")) return WeightFormat::gguf;
  if (output.ends_with(".bin") || output.ends_with(".pth") || output.ends_with(".pt"))
    return WeightFormat::torch;
  return WeightFormat::hugging_face;
}

void report_each(ConvertOptions& options, std::unique_ptr<Progress>& progress) {
  options.progress = [&progress](const std::string& name, const std::vector<int64_t>&,
                                 size_t /*done*/, size_t total) {
    if (!progress)
      progress = std::make_unique<Progress>("convert", static_cast<int64_t>(total), "tensors");
    progress->advance(1, name);
  };
}

}  // namespace

int convert(const std::string& name, const std::vector<std::string>& arguments) {
  std::string input, output, to, dtype, config_path, src_strategy, random;
  int64_t seed = 1, shard_gib = 5;
  Flags flags(
      name,
      "Converts weights between Hugging Face (safetensors, .bin), Meta, GGUF and MindSpore .ckpt, "
      "streaming.",
      "  cria convert --input SmolLM2.gguf --output smollm2/             a Hugging Face folder\n"
      "  cria convert --input llama3-8b/ --output llama3.ckpt --dtype bf16\n"
      "  cria convert --input model.ckpt --config config.json --output model.gguf\n"
      "  cria convert --random 8b --output random-8b/ --dtype bf16");
  flags.text("input", input, "weights: a folder or file of any format we read");
  flags.text("output", output,
             "where to; .ckpt, .gguf, .bin and .pth are files, else a Hugging Face folder");
  flags.text("to", to, "hf, ckpt, gguf or torch; by default from the output's name");
  flags.text("dtype", dtype, "fp32, bf16 or fp16; by default as stored (blocks become bf16)");
  flags.text("config", config_path, "config.json, where the weights carry none");
  flags.text("src_strategy", src_strategy, kSrcStrategyHelp);
  flags.text(
      "random", random,
      "instead of an input: random weights of a true shape (8b, 70b, 1b, 3b, 150m, 135m, tiny), or "
      "of a config.json");
  flags.integer("seed", seed, "of the random weights");
  flags.integer("max_shard_gib", shard_gib, "size of a Hugging Face shard");
  flags.require_flag("output");
  if (!flags.parse(arguments)) return 0;
  require(input.empty() != random.empty(), "{}: give either --input or --random", name);
  require(shard_gib >= 1 && shard_gib <= 1 << 20, "{}: --max_shard_gib is {}, expected 1 or more",
          name, shard_gib);

  ConvertOptions options;
  options.output = output;
  options.format = format_of(to, output);
  options.max_shard_bytes = shard_gib << 30;
  if (!dtype.empty()) options.dtype = parse_dtype(dtype, "--dtype");
  std::unique_ptr<Progress> progress;
  report_each(options, progress);

  if (!random.empty()) {
    const LlamaConfig config = shape_named(random);
    convert_weights(
        random_rows(config, options.dtype.value_or(DType::bf16), static_cast<uint64_t>(seed)),
        config, options);
  } else {
    std::optional<LlamaConfig> given;
    if (!config_path.empty()) given = parse_hf_config(read_text(config_path), config_path);
    const WeightSource source = open_source(input, src_strategy, given);
    std::optional<LlamaConfig> config;
    if (source.has_config()) config = source.config();
    if (config && !source.config_is_own()) config->tie_word_embeddings = looks_tied(source);
    if (config) check_shapes(source, *config);
    const auto vocabulary = find_vocabulary(source.tokenizer_path());
    if (vocabulary && options.format == WeightFormat::gguf)
      options.tokenizer_metadata = gguf_tokenizer_keys(*vocabulary);
    convert_weights(rows_of(source), config, options);
    if (vocabulary && options.format == WeightFormat::hugging_face)
      write_hugging_face_tokenizer(*vocabulary, output);
  }
  progress.reset();
  fmt::print("{}\n", output);
  return 0;
}

int convert_weight(const std::string& name, const std::vector<std::string>& arguments) {
  std::string model = "llama", input, output, dtype, ignored;
  bool reversed = false;
  Flags flags(name,
              "Converts Hugging Face weights to a MindSpore checkpoint, or back with --reversed, "
              "as the recipe's convert_weight.py.",
              "  convert_weight --model llama --input_path llama3-8b/ --output_path llama3-8b.ckpt "
              "--dtype bf16\n"
              "  convert_weight --model llama --input_path llama3-8b.ckpt --output_path back.bin "
              "--reversed");
  flags.text("model", model, "llama is the one we know");
  flags.text("input_path", input,
             "a Hugging Face folder or any file in it; with --reversed a .ckpt");
  flags.text("output_path", output,
             ".ckpt is appended when missing; with --reversed a PyTorch file");
  flags.text("dtype", dtype, "fp32, bf16 or fp16; by default fp32, with --reversed as stored");
  flags.boolean("reversed", reversed, "from .ckpt to PyTorch");
  for (const char* other : {"n_head", "hidden_size", "layers"})
    flags.text(other, ignored, "accepted and not needed for llama");
  flags.require_flag("input_path");
  flags.require_flag("output_path");
  if (!flags.parse(arguments)) return 0;
  require(model == "llama", "{}: unknown model \"{}\", expected llama", name, escaped(model));

  ConvertOptions options;
  options.output = output;
  options.format = reversed ? WeightFormat::torch : WeightFormat::mindspore;
  if (!reversed && !output.ends_with(".ckpt")) options.output += ".ckpt";
  if (!dtype.empty()) {
    options.dtype = parse_dtype(dtype, "--dtype");
  } else if (!reversed) {
    options.dtype = DType::
        f32;  // transformers loads in fp32 unless told otherwise, and so the recipe's file is
  }
  // "Any file in the folder" names the folder; a weights file of its own names itself.
  std::string path = input;
  const bool weights_file = path.ends_with(".ckpt") || path.ends_with(".gguf") ||
                            path.ends_with(".safetensors") || path.ends_with(".bin") ||
                            path.ends_with(".pth");
  if (!reversed && is_file(path) &&
      (!weights_file || is_file(join_path(parent_folder(path), "config.json"))))
    path = parent_folder(path);
  const WeightSource source = WeightSource::open(path);
  if (source.has_config()) check_shapes(source, source.config());
  std::unique_ptr<Progress> progress;
  report_each(options, progress);
  convert_weights(rows_of(source),
                  source.has_config() ? std::optional(source.config()) : std::nullopt, options);
  progress.reset();
  if (reversed) {
    fmt::print("Convert mindspore checkpoint finished, the torch checkpoint is saved in '{}'.\n",
               options.output);
  } else {
    fmt::print(
        "Convert huggingface checkpoint finished, the mindspore checkpoint is saved in '{}'.\n",
        options.output);
  }
  return 0;
}

}  // namespace cria::cli
