// cria generate: prompts (or token ids) in, their continuation out.
#include <fmt/format.h>

#include <charconv>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/thread_pool.h"
#include "cli/commands.h"
#include "cli/device_choice.h"
#include "cli/generation_model.h"
#include "cli/open_model.h"
#include "data/template.h"
#include "generate/generator.h"
#include "tokenizer/load.h"

namespace cria::cli {
namespace {

std::vector<int32_t> parse_ids(const std::string& text, const char* flag) {
  std::vector<int32_t> ids;
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end) {
    int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    require(error == std::errc() && id >= 0 && (next == end || (*next == ',' && next + 1 < end)),
            "generate: --{} is \"{}\", expected ids separated by commas", flag, escaped(text));
    ids.push_back(id);
    at = next == end ? end : next + 1;
  }
  return ids;
}

struct GenerateFlags {
  std::string model, dtype, weights, cache, device = "cpu", config_path, src_strategy, eos,
                                            vocab_file, prompt_template;
  std::vector<std::string> prompts, token_ids;
  bool json = false, stream = true, allow_special = false;
  std::optional<bool> add_bos;
  int64_t threads = 0;
  GenerateSettings settings;
};

void declare(Flags& flags, GenerateFlags& f) {
  flags.text("model", f.model, "weights: a folder or file of any format we read");
  flags.texts("prompt", f.prompts, "one or more prompts");
  flags.texts("token_ids", f.token_ids,
              "instead of prompts: ids separated by commas, used as given; once per sequence");
  flags.integer("max_new_tokens", f.settings.max_new_tokens, "at most so many");
  flags.text(
      "dtype", f.dtype,
      "compute type: fp32, bf16 or fp16; by default bf16, and fp32 beside weights in blocks");
  flags.text("weights", f.weights,
             "keep: as they are stored, blocks of few bits are multiplied as they are; bf16; q8_0, "
             "q4_0, ...: "
             "rounded while loading; by default keep without --dtype, else the compute type");
  flags.text("cache_dtype", f.cache, kCacheHelp);
  flags.text("device", f.device, kDeviceHelp);
  flags.text("config", f.config_path, "config.json, where the weights carry none");
  flags.text("src_strategy", f.src_strategy, kSrcStrategyHelp);
  flags.text("eos_ids", f.eos,
             "ids that end a reply, separated by commas, or none; by default the model's own");
  flags.text("vocab_file", f.vocab_file,
             "vocabulary; by default the one beside or inside the weights");
  flags.text("prompt_template", f.prompt_template,
             "none, alpaca, vicuna, llama3 or chatml; by default none");
  flags.boolean("add_bos", f.add_bos, "begin with bos; by default only where a chat layout does");
  flags.boolean("allow_special", f.allow_special,
                "special-token text in prompts becomes special tokens");
  flags.boolean("do_sample", f.settings.sampling.do_sample, "draw instead of taking the likeliest");
  flags.number("temperature", f.settings.sampling.temperature, "of the draw");
  flags.integer("top_k", f.settings.sampling.top_k, "draw among the k likeliest; 0: all");
  flags.number("top_p", f.settings.sampling.top_p,
               "draw among the likeliest that reach this probability");
  flags.number("repetition_penalty", f.settings.sampling.repetition_penalty,
               "for tokens that were seen");
  flags.boolean("json", f.json, "one JSON line of ids on stdout and nothing else");
  flags.boolean("stream", f.stream, "print text as it comes");
  flags.integer("threads", f.threads, "0: one per core");
  flags.require_flag("model");
}

// The text of one prompt, printed while it grows.
void print_streaming(const Tokenizer& tokenizer, Decoder& decoder, const GenerateSettings& settings,
                     const std::vector<int32_t>& prompt, bool stream) {
  StreamDecoder text(tokenizer, true);
  const auto on_token = [&](size_t, int32_t token) {
    fmt::print("{}", text.put(token));
    if (stream) std::fflush(stdout);
  };
  generate(decoder, {&prompt, 1}, settings, on_token);
  fmt::print("{}\n", text.end());
}

/// What is asked: ids, and the tokenizer that makes text of the answers (null: they are printed as ids).
struct Question {
  std::vector<std::vector<int32_t>> prompts;
  std::unique_ptr<Tokenizer> tokenizer;
};

Question question_of(const GenerateFlags& f, const WeightSource& source, const std::string& name) {
  Question q;
  for (const std::string& ids : f.token_ids) q.prompts.push_back(parse_ids(ids, "token_ids"));
  if (!q.prompts.empty()) return q;
  const auto vocabulary = find_vocabulary(source.tokenizer_path(), f.vocab_file);
  require(vocabulary.has_value(), "{}: {}: no tokenizer beside the weights; try: --vocab_file",
          name, f.model);
  auto tokenizer = std::make_unique<Tokenizer>(*vocabulary);
  const PromptTemplate kind =
      parse_prompt_template(f.prompt_template.empty() ? "none" : f.prompt_template);
  for (const std::string& text : f.prompts) {
    q.prompts.push_back(encode_prompt(
        *tokenizer, kind, text,
        {f.add_bos.value_or(kind == PromptTemplate::alpaca || kind == PromptTemplate::vicuna),
         f.allow_special,
         {}}));
  }
  if (!f.json) q.tokenizer = std::move(tokenizer);
  return q;
}

/// Every shard makes the same calls; one prints.
void answer(const Question& q, Decoder& decoder, const GenerateSettings& settings,
            const Shard& shard, bool stream) {
  if (q.tokenizer == nullptr) {
    std::vector<std::string> rows;
    for (const Generated& g : generate(decoder, q.prompts, settings))
      rows.push_back(fmt::format("[{}]", fmt::join(g.ids, ", ")));
    if (shard.speaks()) fmt::print("{{\"output_ids\": [{}]}}\n", fmt::join(rows, ", "));
    return;
  }
  for (const auto& prompt : q.prompts) {
    if (shard.speaks()) {
      print_streaming(*q.tokenizer, decoder, settings, prompt, stream);
    } else {
      generate(decoder, {&prompt, 1}, settings);
    }
  }
}

}  // namespace

int generate(const std::string& name, const std::vector<std::string>& arguments) {
  GenerateFlags f;
  Flags flags(
      name, "Continues prompts.",
      "  cria generate --model SmolLM2.gguf --prompt 'What is a llama?' --prompt_template chatml\n"
      "  cria generate --model smollm2/ --token_ids 1,2,3 --max_new_tokens 16 --dtype fp32 --json");
  declare(flags, f);
  if (!flags.parse(arguments)) return 0;
  require(f.prompts.empty() != f.token_ids.empty(), "{}: give either --prompt or --token_ids",
          name);

  const OpenedModel opened = open_model(f.model, f.config_path, f.src_strategy);
  const WeightSource& source = opened.source;
  const LlamaConfig& config = opened.config;
  f.settings.eos_ids = config.eos_token_ids;
  if (!f.eos.empty())
    f.settings.eos_ids = f.eos == "none" ? std::vector<int32_t>() : parse_ids(f.eos, "eos_ids");

  ThreadPool pool(static_cast<int>(f.threads));
  const std::unique_ptr<ops::Device> device = open_device(f.device);
  const ModelForm form =
      form_for_generation(source, config, f.weights, f.dtype, f.cache, device.get());
  f.settings.compute = form.compute;
  f.settings.cache = cache_type(f.cache, form.cache);
  const Question question = question_of(f, source, name);
  const MemoryNodes nodes = memory_nodes_to_use();
  const int shards = device != nullptr ? 1 : shards_for(config, form.weights.packed, nodes);
  run_shards(shards, nodes, pool, [&](const Shard& shard) {
    ops::Exec exec{.pool = shard.pool, .device = device.get()};
    const LoadedModel model = load_for_generation(source, config, form, shard, device.get());
    Decoder decoder = model.decoder(exec, shard.groups);
    GenerateSettings settings = f.settings;
    settings.groups = shard.groups;
    answer(question, decoder, settings, shard, f.stream);
  });
  return 0;
}

}  // namespace cria::cli
