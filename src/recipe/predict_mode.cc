// predict: prompts in, their continuation out, in the recipe's result file.
#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "checkpoint/agreement.h"
#include "checkpoint/generation_weights.h"
#include "data/template.h"
#include "generate/generator.h"
#include "recipe/auto_transform.h"
#include "recipe/ckpt_files.h"
#include "recipe/model_setup.h"
#include "recipe/modes.h"
#include "recipe/own_layout.h"
#include "recipe/python_repr.h"
#include "recipe/run_device.h"

namespace cria::recipe {
namespace {

std::string with_newlines(std::string_view line) {
  std::string text;
  for (size_t at = 0; at < line.size(); ++at) {
    const bool newline = line.substr(at, 2) == "\\n";
    text += newline ? '\n' : line[at];
    if (newline) ++at;
  }
  return text;
}

// A single text that names a file stands for the file's lines.
std::vector<std::string> all_prompts(const std::vector<std::string>& given) {
  require(!given.empty(),
          "run: predict needs a prompt; try: --predict_data 'I love Beijing,because'");
  if (given.size() != 1 || !is_file(given[0])) return given;
  const std::string text = read_text(given[0], 64 << 20);
  if (const auto bad = find_invalid_utf8(text)) {
    throw FormatError(describe({.what = "run",
                                .path = given[0],
                                .offset = static_cast<int64_t>(*bad),
                                .reason = "prompts are not valid UTF-8"}));
  }
  std::vector<std::string> prompts;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) prompts.push_back(with_newlines(line));
    at = end + 1;
  }
  require<FormatError>(!prompts.empty(), "run: {}: no prompts, expected one a line", given[0]);
  return prompts;
}

GenerateSettings generation(const RecipeSettings& s, RecipeLog& log) {
  const PredictSettings& p = s.predict;
  GenerateSettings g;
  g.sampling = p.sampling;
  g.compute = s.model.compute;
  g.batch_size = s.model.batch_size;
  g.max_length = std::min(p.max_length.value_or(s.model.seq_length), s.model.seq_length);
  if (p.max_length.value_or(0) > s.model.seq_length)
    log.info(
        fmt::format("max_length {} is cut to seq_length {}", *p.max_length, s.model.seq_length));
  g.max_new_tokens = g.max_length;
  if (p.max_new_tokens) {
    // Given, it rules instead of max_length; the model's length still caps both together.
    g.max_new_tokens = *p.max_new_tokens;
    g.max_length = s.model.seq_length;
  }
  require(p.min_length <= g.max_length, "config: min_length {} is more than max_length {}",
          p.min_length, g.max_length);
  return g;
}

std::vector<std::vector<TokenId>> encode(const RecipeSettings& s, const Tokenizer& tokenizer,
                                         const std::vector<std::string>& texts) {
  const PromptTemplate kind = parse_prompt_template(s.predict.prompt_template);
  std::vector<std::vector<TokenId>> prompts;
  for (const std::string& text : texts) {
    require(!find_invalid_utf8(text), "run: a prompt is not valid UTF-8");
    prompts.push_back(
        encode_prompt(tokenizer, kind, text, {s.predict.add_bos.value_or(false), false, {}}));
  }
  return prompts;
}

// min_length counts the prompt too, so it differs from prompt to prompt.
std::vector<Generated> continue_prompts(const RecipeSettings& s, Decoder& decoder,
                                        std::span<const std::vector<TokenId>> prompts,
                                        GenerateSettings g) {
  if (s.predict.min_length == 0) return generate(decoder, prompts, g);
  std::vector<Generated> all;
  for (const auto& prompt : prompts) {
    g.sampling.min_new_tokens =
        std::max(s.predict.sampling.min_new_tokens, s.predict.min_length - std::ssize(prompt));
    all.push_back(generate(decoder, {&prompt, 1}, g).front());
  }
  return all;
}

/// As --weights says; on a GPU only blocks are packed.
WeightForm weight_form(const RecipeSettings& s, const WeightSource& source,
                       const LlamaConfig& config, const ModelPart& part) {
  const std::string& word = s.predict.weights;
  const DType plain = s.model.param;
  if (word == "plain") return {.plain = plain};
  WeightForm form =
      word.empty() || word == "keep"
          ? form_of_stored(source, config, part, plain)
          : WeightForm{packed_types(source, config, part, parse_packed_type(word), plain), plain};
  return s.gpu ? form_on_device(std::move(form), word, plain) : form;
}

/// Prompt and continuation as text, of each prompt.
std::vector<std::string> answer(const RecipeSettings& s, const Tokenizer& tokenizer,
                                Decoder& decoder, std::span<const std::vector<TokenId>> prompts,
                                const GenerateSettings& g, RecipeLog& log) {
  std::vector<std::string> answers;
  const auto batch_size = static_cast<size_t>(s.model.batch_size);
  for (size_t at = 0; at < prompts.size(); at += batch_size) {
    const auto batch = prompts.subspan(at, std::min(batch_size, prompts.size() - at));
    const auto start = std::chrono::steady_clock::now();
    const auto results = continue_prompts(s, decoder, batch, g);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    size_t tokens = 0;
    for (size_t i = 0; i < batch.size(); ++i) {
      std::vector<TokenId> ids = batch[i];
      ids.insert(ids.end(), results[i].ids.begin(), results[i].ids.end());
      tokens += results[i].ids.size();
      answers.push_back(tokenizer.decode(ids, true));
    }
    log.info(fmt::format(
        "total time: {} s; generated tokens: {} tokens; generate speed: {} tokens/s",
        python_float(seconds), tokens, python_float(static_cast<double>(tokens) / seconds)));
  }
  return answers;
}

/// The answers of all data-parallel ranks in the order of their prompts, on the first of them.
std::vector<std::string> gathered(const std::vector<std::string>& mine, Groups& groups) {
  if (groups.dp.alone()) return mine;
  // The others may have much longer replies to make; a rank that died is the launcher's to notice.
  groups.shared.settings.deadline = std::chrono::hours(24 * 7);
  Comm reports(groups.shared, "answers", groups.grid.dp_ranks(), kReportsChannel);
  std::vector<std::string> all;
  for (const std::string& text : gather_texts(reports, Json(mine).dump())) {
    for (const Json& one : parse_json(text, "answers", "another rank"))
      all.push_back(one.get<std::string>());
  }
  return all;
}

void write_results(const RecipeSettings& s, const std::vector<std::string>& answers, RecipeLog& log,
                   bool repeat_result) {
  std::vector<std::vector<std::string>> batches;
  const auto batch_size = static_cast<size_t>(s.model.batch_size);
  for (size_t i = 0; i < answers.size(); ++i) {
    if (i % batch_size == 0) batches.emplace_back();
    batches.back().push_back(answers[i]);
  }
  const std::string result = python_results(batches);
  write_file(s.predict.save_file, result);
  log.info(fmt::format("output result is: {}", result));
  log.info(fmt::format("output result is saved at: {}", s.predict.save_file));
  log.info(".........Predict Over!.............");
  if (repeat_result) log.info(result);
}

}  // namespace

int run_predict(const RecipeSettings& s, Transport& transport, RecipeLog& log, bool repeat_result) {
  const RankGrid grid = grid_of_run(s, transport);
  const std::unique_ptr<ops::Device> device = device_of_run(s);
  Groups groups(transport, grid, groups_of_run(s, device.get()));
  const std::chrono::milliseconds patience = groups.shared.settings.deadline;
  const std::vector<std::string> texts = all_prompts(s.predict.prompts);
  std::optional<WeightSource> weights = open_weights(s);
  require(weights.has_value(), "run: predict needs weights; try: --load_checkpoint");
  const LlamaConfig config = model_config(s, &*weights);
  const ModelPart part =
      part_of(config, groups.grid, pipeline_settings(s.parallel, config, s.model.seq_length));
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(s, &*weights);
  require(tokenizer != nullptr, "run: {}: no tokenizer beside the weights; try: --vocab_file",
          s.load_checkpoint);
  require<MismatchError>(tokenizer->vocab_size() <= config.vocab_size,
                         "run: {}: the tokenizer has {} tokens, the model {}",
                         tokenizer->vocabulary().source, tokenizer->vocab_size(),
                         config.vocab_size);
  GenerateSettings g = generation(s, log);
  g.eos_ids = config.eos_token_ids;
  g.groups = &groups;
  const auto prompts = encode(s, *tokenizer, texts);
  if (groups.grid.rank == 0 && !s.predict.add_bos.value_or(false) &&
      trained_with_bos(s.load_checkpoint))
    warn(
        "predict: the training data began with bos and prompts do not; try: "
        "--processor.tokenizer.add_bos_token True");
  log.info(fmt::format("Network Parameters: {} M.", count_parameters(config) / 1000000));
  const WeightForm form = weight_form(s, *weights, config, part);
  log.info(check_inference_memory(config, s, part, form, s.model.batch_size,
                                  available_to_rank(device.get())));

  ThreadPool pool(static_cast<int>(s.threads));
  ops::Exec exec{.pool = pool, .device = device.get()};
  if (s.auto_trans) use_transformed(s, config, groups, log, weights);
  const GenerationWeights held(*weights, config, part, form, pool, device.get());
  Decoder decoder = held.decoder(g.compute, exec, &groups);
  const int64_t first = std::ssize(prompts) * grid.dp_index() / grid.dp;
  const int64_t end = std::ssize(prompts) * (grid.dp_index() + 1) / grid.dp;
  const auto mine =
      std::span(prompts).subspan(static_cast<size_t>(first), static_cast<size_t>(end - first));
  const std::vector<std::string> answers =
      gathered(answer(s, *tokenizer, decoder, mine, g, log), groups);
  log.keep();
  if (groups.grid.rank == 0) write_results(s, answers, log, repeat_result);
  end_together(groups, patience);
  return 0;
}

}  // namespace cria::recipe
