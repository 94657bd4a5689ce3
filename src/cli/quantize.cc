// cria quantize: the matrices of any weights into blocks of few bits, as a GGUF or as a folder of compressed-tensors.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <tuple>

#include "base/error.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "calibrate/calibration.h"
#include "checkpoint/convert.h"
#include "cli/commands.h"
#include "cli/open_model.h"
#include "cli/quantize_types.h"
#include "cli/text_tokens.h"
#include "cli/tokenizer_files.h"
#include "formats/compressed_tensors.h"
#include "tokenizer/load.h"

namespace cria::cli {
namespace {

constexpr int64_t kCalibrationWindow = 512;

void warn_of_blocks(const std::vector<TensorInfo>& tensors, const std::string& model) {
  std::set<std::string_view> names;
  for (const TensorInfo& t : tensors)
    if (is_quantised(t.dtype)) names.insert(name_of(t.dtype));
  if (!names.empty())
    warn(fmt::format("quantize: {}: the weights are {} already; what that rounded away stays lost",
                     model, fmt::join(names, " and ")));
}

// One line for each way in which tensors do not get the type that was asked for.
void warn_of_other_types(const std::vector<TensorInfo>& tensors, const BlockTypes& types) {
  std::map<std::tuple<DType, int64_t, DType>, int64_t> counts;
  for (const TensorInfo& t : tensors) {
    const DType wanted = wanted_type(types, t);
    const DType type = fitting_type(wanted, t.shape.back(), t.dtype);
    if (type != wanted) ++counts[{wanted, t.shape.back(), type}];
  }
  for (const auto& [kind, count] : counts) {
    const auto& [wanted, width, type] = kind;
    warn(fmt::format("quantize: blocks of {} {} do not divide rows of {}; {} tensors become {}",
                     block_elements(wanted), name_of(wanted), width, count, name_of(type)));
  }
}

// What the last line tells.
struct Account {
  int64_t elements = 0, bytes_before = 0, bytes_after = 0;
  RoundingError all;
  std::string worst;
  double worst_error = 0;

  void add(const std::string& name, const RoundingError& error) {
    all += error;
    if (worst.empty() || error.relative() > worst_error) {
      worst = name;
      worst_error = error.relative();
    }
  }
  void add_sizes(const TensorInfo& stored, const BlockTypes& types) {
    const bool kept = is_int_group(types.matrices) && stored.shape.size() == 1;
    const DType type =
        kept ? stored.dtype
             : fitting_type(wanted_type(types, stored), stored.shape.back(), stored.dtype);
    elements += stored.elements();
    bytes_before += stored.size_bytes();
    for (const TensorInfo& part : stored_parts({stored.name, type, stored.shape}))
      bytes_after += part.size_bytes();
  }
};

void print_account(const std::string& output, const Account& account) {
  const auto megabytes = [](int64_t bytes) { return static_cast<double>(bytes) / 1e6; };
  fmt::print("{}: {:.1f} MB to {:.1f} MB, {:.2f} bits a weight, relative error {:.3g} %", output,
             megabytes(account.bytes_before), megabytes(account.bytes_after),
             8.0 * static_cast<double>(account.bytes_after) / static_cast<double>(account.elements),
             100 * account.all.relative());
  if (!account.worst.empty())
    fmt::print(" (largest {:.3g} %: {})", 100 * account.worst_error, account.worst);
  fmt::print("\n");
}

void check_output(const std::string& output, bool folder, bool overwrite, const std::string& name) {
  const bool there = is_file(folder ? join_path(output, "config.json") : output);
  require(overwrite || !there, "{}: {}: the output exists already; try: --overwrite", name, output);
  require(!folder || !is_file(output),
          "{}: {}: a file, but int4 and int8 become a folder; try: another --output", name, output);
}

}  // namespace

int quantize(const std::string& name, const std::vector<std::string>& arguments) {
  std::string model, output, text, vocab_file, config_path, src_strategy;
  QuantizeFlags wanted;
  int64_t threads = 0, tokens = 16384;
  bool overwrite = false;
  Flags flags(
      name,
      "Writes weights as a GGUF whose matrices are blocks of few bits, or with int4 and int8 as a "
      "folder that transformers and vLLM load (compressed-tensors), with the scales that cost "
      "least. Norms stay as precise as they are.",
      "  cria quantize --model llama3-8b/ --type q4_k --output llama3-8b-q4_k.gguf\n"
      "  cria quantize --model tuned/model --type q8_0 --output tuned-q8_0.gguf\n"
      "  cria quantize --model SmolLM2.gguf --type q4_0 --embedding q6_k --output small.gguf\n"
      "  cria quantize --model llama3-8b/ --type q4_0 --calibrate book.txt --output small.gguf\n"
      "  cria quantize --model llama3-8b/ --type int4 --group 128 --output llama3-8b-int4/");
  flags.text("model", model, "weights: a folder or file of any format we read");
  flags.text("type", wanted.type, "q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k, int4 or int8");
  flags.integer("group", wanted.group,
                "int4 and int8: columns that share a scale, 128, 64 or 32; by default the most "
                "that divide every row");
  flags.text("output", output, "the GGUF to write, or the folder of int4 and int8");
  flags.text("embedding", wanted.embedding,
             "type of the token embedding, also bf16, f16 or f32; by default q8_0 with 4 and 5 "
             "bits, bf16 with int4 and int8");
  flags.text("head", wanted.head,
             "type of the output matrix where it is not the embedding; as above");
  flags.text(
      "calibrate", text,
      "a file of plain text: layer by layer, matrices are rounded so that on this text their "
      "outputs change least");
  flags.integer("calibrate_tokens", tokens, "at most so many tokens of it, in windows of 512");
  flags.text("vocab_file", vocab_file,
             "for --calibrate: vocabulary; by default the one beside or inside the weights");
  flags.text("config", config_path, "config.json, where the weights carry none");
  flags.text("src_strategy", src_strategy, kSrcStrategyHelp);
  flags.integer("threads", threads, "0: one per core");
  flags.boolean("overwrite", overwrite, "replace an existing output");
  for (const char* needed : {"model", "type", "output"}) flags.require_flag(needed);
  if (!flags.parse(arguments)) return 0;
  require(threads >= 0 && threads <= 4096, "{}: --threads is {}, expected 0 to 4096", name,
          threads);
  require(tokens >= 1, "{}: --calibrate_tokens is {}, expected 1 or more", name, tokens);
  const bool folder = wants_groups(wanted);
  check_output(output, folder, overwrite, name);
  (void)quantize_types(wanted, {}, name);  // bad words come before a long look at the weights

  ConvertOptions options;
  options.format = folder ? WeightFormat::hugging_face : WeightFormat::gguf;
  options.output = output;
  const OpenedModel opened = open_model(model, config_path, src_strategy);
  check_shapes(opened.source, opened.config);
  options.blocks = {
      quantize_types(wanted, opened.source.tensors(), name), static_cast<int>(threads), {}, {}};
  const bool tied = opened.config.tie_word_embeddings;
  require(!tied || wanted.head.empty(),
          "{}: {}: the output matrix is the embedding; try: --embedding {}", name, model,
          escaped(wanted.head));
  const auto vocabulary = find_vocabulary(opened.source.tokenizer_path());
  if (vocabulary && !folder) options.tokenizer_metadata = gguf_tokenizer_keys(*vocabulary);

  WeightRows rows = rows_of(opened.source);
  Account account;
  std::vector<TensorInfo> written;
  for (const TensorInfo& t : rows.tensors) {
    if (tied && t.name == "lm_head.weight") continue;
    written.push_back(t);
    account.add_sizes(t, options.blocks->types);
  }
  warn_of_blocks(written, model);
  warn_of_other_types(written, options.blocks->types);
  options.blocks->measured = [&account](const std::string& tensor, const RoundingError& error) {
    account.add(tensor, error);
  };
  auto progress =
      std::make_unique<Progress>("quantize", static_cast<int64_t>(written.size()), "tensors");
  options.progress = [&progress](const std::string& tensor, const std::vector<int64_t>&, size_t,
                                 size_t) { progress->advance(1, tensor); };
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<Calibration> calibration;
  if (!text.empty()) {
    pool = std::make_unique<ThreadPool>(static_cast<int>(threads));
    const std::vector<int32_t> ids =
        tokens_of_text(text, vocab_file, opened.source, opened.config, tokens, name);
    calibration = std::make_unique<Calibration>(
        opened.source, opened.config, options.blocks->types, ids,
        std::min<int64_t>(kCalibrationWindow, opened.config.max_position_embeddings), *pool);
    options.blocks->chosen = [&](const std::string& tensor) {
      return calibration->chooses(tensor) ? std::optional(calibration->blocks(tensor))
                                          : std::nullopt;
    };
  }
  convert_weights(rows, opened.config, options);
  if (vocabulary && folder) write_hugging_face_tokenizer(*vocabulary, output);
  progress.reset();
  print_account(output, account);
  return 0;
}

}  // namespace cria::cli
