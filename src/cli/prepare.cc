// cria alpaca-convert and cria preprocess: the recipe's two steps from raw data to records.
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "data/alpaca.h"
#include "data/loader.h"
#include "data/preprocess.h"
#include "tokenizer/load.h"

namespace cria::cli {
namespace {

// Bytes of input as a progress bar; the total is known at the first call.
ProgressCall byte_progress(std::unique_ptr<Progress>& bar, const std::string& title) {
  return [&bar, title, before = uint64_t{0}](uint64_t done, uint64_t total) mutable {
    if (!bar) bar = std::make_unique<Progress>(title, static_cast<int64_t>(total >> 10), "KiB");
    bar->advance(static_cast<int64_t>((done >> 10) - (before >> 10)));
    before = done;
  };
}

constexpr auto kSkipBadHelp = "leave out at most so many records that cannot be read";

void print_skipped(int64_t records) {
  if (records > 0) fmt::print("Skipped {} records that cannot be read.\n", records);
}

void print_report(const PreprocessReport& r, DatasetType type) {
  fmt::print("records {}, tokens {}, trained {}, padding {:.1f} %\n", r.records, r.tokens,
             r.trained_tokens, 100 * r.padding_share);
  print_skipped(r.bad_skipped);
  if (type != DatasetType::qa) return;
  fmt::print(
      "truncated {}, without any trained token {}, empty replies left out {} (whole records: {})\n",
      r.truncated, r.fully_masked, r.empty_replies, r.empty_skipped);
  if (r.differing_from_recipe > 0) {
    fmt::print(
        "{} records differ from what the recipe's script writes (it masks or drops them; --compat "
        "mindformers does the same)\n",
        r.differing_from_recipe);
  }
}

}  // namespace

int alpaca_convert(const std::string& name, const std::vector<std::string>& arguments) {
  std::string data_path = "alpaca-data.json", output_path = "alpaca-data-conversation.json";
  int64_t skip_bad = 0;
  Flags flags(name, "Converts Alpaca records to the recipe's conversations.",
              "  alpaca_converter --data_path alpaca_data.json --output_path "
              "alpaca-data-conversation.json");
  flags.text("data_path", data_path, "JSON array (or JSON lines) of instruction, input, output");
  flags.text("output_path", output_path, "JSON array of conversations");
  flags.integer("skip_bad", skip_bad, kSkipBadHelp);
  if (!flags.parse(arguments)) return 0;
  require(skip_bad >= 0, "{}: --skip_bad is {}, expected 0 or more", name, skip_bad);
  BadRecords bad(skip_bad);
  std::unique_ptr<Progress> bar;
  const int64_t records =
      convert_alpaca(data_path, output_path, byte_progress(bar, "convert"), &bad);
  bar.reset();
  fmt::print("Converted {} records: {}\n", records, output_path);
  print_skipped(bad.skipped());
  return 0;
}

int preprocess(const std::string& name, const std::vector<std::string>& arguments) {
  std::string type = "wiki", tokenizer_choice = "llama3", compat, pad, bos, eos;
  int64_t partition = 1, repeat = 1, threads = 0;
  PreprocessOptions options;
  options.input = "./dataset/wikitext-2/wiki.train.tokens";
  options.output = "./dataset/wiki8192/wiki8192";
  options.vocab_file = "./ckpt/llama3/tokenizer.model";
  Flags flags(name, "Tokenizes conversations, Alpaca records or plain text into MindRecord files.",
              "  llama_preprocess --dataset_type qa --input_glob alpaca-data-conversation.json "
              "--model_file tokenizer.model\n"
              "                   --seq_length 8192 --output_file alpaca-fastchat8192.mindrecord\n"
              "  cria preprocess --dataset_type qa --input_glob alpaca.json --model_file "
              "SmolLM2.gguf --pad_token '<|endoftext|>'\n"
              "                  --seq_length 128 --output_file alpaca.mindrecord");
  flags.text("dataset_type", type, "wiki or qa");
  flags.text("input_glob", options.input, "one file");
  flags.text("output_file", options.output, "ends in mindrecord, so that training finds it");
  flags.text("tokenizer", tokenizer_choice, "llama3; accepted for the recipe's sake");
  flags.text("model_file", options.vocab_file,
             "tokenizer.model, tokenizer.json, a GGUF, or a folder with one");
  flags.integer("file_partition", partition, "number of MindRecord files");
  flags.integer("repeat", repeat, "wiki: the text so many times");
  flags.integer("seq_length", options.seq_length, "records hold one token more");
  flags.text("compat", compat, "mindformers: exactly as the recipe's script, its slips included");
  flags.boolean("allow_special", options.allow_special,
                "special-token text in the data becomes special tokens");
  flags.boolean("keep_empty", options.keep_empty, "keep records with an empty reply");
  flags.integer("skip_bad", options.skip_bad, kSkipBadHelp);
  flags.boolean("overwrite", options.overwrite, "replace an existing output");
  flags.text("bos_token", bos, "id or text, instead of the vocabulary's");
  flags.text("eos_token", eos, "id or text, instead of the vocabulary's");
  flags.text("pad_token", pad, "id or text, instead of the vocabulary's");
  flags.integer("threads", threads, "0: one per core");
  if (!flags.parse(arguments)) return 0;
  require(type == "wiki" || type == "qa", "{}: --dataset_type is \"{}\", expected wiki or qa", name,
          escaped(type));
  require(tokenizer_choice == "llama3",
          "{}: --tokenizer is \"{}\", expected llama3 (the vocabulary is --model_file)", name,
          escaped(tokenizer_choice));
  require(compat.empty() || compat == "mindformers" || compat == "none",
          "{}: --compat is \"{}\", expected mindformers or none", name, escaped(compat));
  require(partition >= 1 && partition <= 1000, "{}: --file_partition is {}, expected 1 to 1000",
          name, partition);
  require(repeat >= 1 && repeat <= 1000000, "{}: --repeat is {}, expected 1 to 1000000", name,
          repeat);
  require(threads >= 0 && threads <= 4096, "{}: --threads is {}, expected 0 to 4096", name,
          threads);
  require<IoError>(is_file(options.vocab_file) || is_folder(options.vocab_file),
                   "{}: file {} do not exists.", name, options.vocab_file);
  options.dataset_type = type == "qa" ? DatasetType::qa : DatasetType::wiki;
  options.compat_mindformers = compat == "mindformers";
  options.file_partition = static_cast<int>(partition);
  options.repeat = static_cast<int>(repeat);
  options.threads = static_cast<int>(threads);
  const Tokenizer tokenizer(load_vocabulary(options.vocab_file));
  if (!bos.empty()) options.bos = parse_token(tokenizer, bos);
  if (!eos.empty()) options.eos = parse_token(tokenizer, eos);
  if (!pad.empty()) options.pad = parse_token(tokenizer, pad);
  std::unique_ptr<Progress> bar;
  const PreprocessReport report =
      cria::preprocess(options, tokenizer, byte_progress(bar, "preprocess"));
  bar.reset();
  fmt::print("Transformed {} records.\n", report.records);
  fmt::print("Transform finished, output files refer: {}\n", report.first_file);
  print_report(report, options.dataset_type);
  return 0;
}

}  // namespace cria::cli
