// cria inspect: what is in a file, of any format we know.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/text.h"
#include "checkpoint/weight_source.h"
#include "cli/commands.h"
#include "data/dataset_meta.h"
#include "data/describe_row.h"
#include "data/loader.h"
#include "formats/gguf.h"
#include "formats/mindspore_ckpt.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"
#include "tokenizer/load.h"

namespace cria::cli {
namespace {

void print_tensors(const TensorReader& reader) {
  uint64_t bytes = 0;
  for (const TensorInfo& t : reader.tensors()) {
    fmt::print("{:<6} {:<24} {}\n", name_of(t.dtype), fmt::format("[{}]", fmt::join(t.shape, ", ")),
               escaped(t.name, 200));
    bytes += static_cast<uint64_t>(t.size_bytes());
  }
  fmt::print("{} tensors, {} bytes\n", reader.tensors().size(), bytes);
}

void print_gguf(const std::string& path) {
  const auto reader = GgufReader::open(path);
  for (const GgufEntry& e : reader->entries()) {
    std::string value;
    if (e.is_array) {
      value = fmt::format("{} x {}", e.count, name_of(e.type));
    } else if (e.type == GgufType::string) {
      value = escaped(*reader->text(e.key), 60);
    } else if (e.type == GgufType::f32 || e.type == GgufType::f64) {
      value = fmt::format("{}", *reader->number(e.key));
    } else if (e.type == GgufType::boolean) {
      value = *reader->flag(e.key) ? "true" : "false";
    } else if (const auto n = e.type == GgufType::u8 || e.type == GgufType::u16 ||
                                      e.type == GgufType::u32 || e.type == GgufType::u64
                                  ? reader->uint(e.key)
                                  : std::nullopt) {
      value = std::to_string(*n);
    } else {
      value = std::string(name_of(e.type));
    }
    fmt::print("{} = {}\n", escaped(e.key, 100), value);
  }
  print_tensors(*reader);
}

// Bytes of a token for a terminal: whole characters as they are, the rest escaped, newlines made visible.
std::string shown(const std::string& bytes) {
  std::string out;
  for (const char c : replace_invalid_utf8(bytes)) {
    if (c == '\n') {
      out += "\\n";
    } else {
      out += static_cast<unsigned char>(c) < 0x20 ? '.' : c;
    }
  }
  return out;
}

void print_row(const MindRecordReader& reader, int64_t row, const Tokenizer& tokenizer,
               std::optional<TokenId> pad, bool colour) {
  const DescribedRow d = describe_row(reader, row, tokenizer, pad);
  int64_t trained = 0;
  for (const DescribedToken& t : d.tokens) {
    trained += t.trained ? 1 : 0;
    const std::string text =
        t.special ? tokenizer.vocabulary().pieces[static_cast<size_t>(t.id)] : shown(t.bytes);
    if (colour) {
      fmt::print("\x1b[{}m{}\x1b[0m", t.trained ? "1;32" : "2", text);
    } else {
      fmt::print("{}", t.trained ? "[" + text + "]" : text);
    }
  }
  fmt::print("\nrow {}: {} tokens, {} trained ({}), {} padding\n", row, d.tokens.size(), trained,
             colour ? "green" : "in brackets", d.padding);
}

void print_records(const std::string& path, std::optional<int64_t> row, std::string vocab_file,
                   bool colour) {
  const MindRecordReader reader(path);
  const std::string meta_path = find_dataset_meta(path);
  std::optional<DatasetMeta> meta;
  if (!meta_path.empty()) meta = read_dataset_meta(meta_path);
  if (row) {
    require(!vocab_file.empty(),
            "inspect: {}: showing tokens needs the vocabulary; try: --vocab_file tokenizer.model",
            path);
    const Tokenizer tokenizer(load_vocabulary(vocab_file));
    if (meta && meta->tokenizer_sha256 != tokenizer.fingerprint())
      warn(fmt::format("inspect: {}: made with another tokenizer than {}", path, vocab_file));
    print_row(reader, *row, tokenizer, meta ? std::optional(meta->pad) : std::nullopt, colour);
    return;
  }
  fmt::print("MindRecord: {} rows in {} files\n", reader.rows(), reader.files().size());
  for (const MindRecordColumn& c : reader.schema().columns) {
    constexpr std::string_view types[] = {"bytes", "string",  "int32",
                                          "int64", "float32", "float64"};
    fmt::print("  {:<16} {}{}\n", c.name, types[static_cast<size_t>(c.type)],
               c.has_shape ? fmt::format(" [{}]", fmt::join(c.shape, ", ")) : "");
  }
  if (meta) {
    fmt::print(
        "made from {} data with seq_length {}, bos {}, eos {}, pad {}, {} trained of {} "
        "tokens\ntokenizer {}\n",
        meta->dataset_type, meta->seq_length, meta->bos, meta->eos, meta->pad, meta->trained_tokens,
        meta->tokens, meta->tokenizer_sha256);
  }
}

}  // namespace

int inspect(const std::string& name, const std::vector<std::string>& arguments) {
  std::vector<std::string> paths;
  std::string vocab_file, colour = "auto";
  std::optional<int64_t> row;
  Flags flags(name,
              "Shows what is in a file: tensors, metadata, or a record's tokens coloured by label.",
              "  cria inspect model.safetensors\n  cria inspect alpaca.mindrecord --row 3 "
              "--vocab_file tokenizer.model");
  flags.positional(
      "file", paths,
      "safetensors, its index, .ckpt, .bin, .pth, GGUF, MindRecord, or a folder of weights");
  flags.integer("row", row, "MindRecord: the row to show");
  flags.text("vocab_file", vocab_file, "MindRecord: the vocabulary");
  flags.text("color", colour, "auto, always or never");
  if (!flags.parse(arguments)) return 0;
  require(!paths.empty(), "{}: no file given; try: --help", name);
  require(colour == "auto" || colour == "always" || colour == "never",
          "{}: --color is \"{}\", expected auto, always or never", name, escaped(colour));
  const bool coloured = colour == "always" || (colour == "auto" && isatty(STDOUT_FILENO) == 1);
  for (const std::string& path : paths) {
    if (is_folder(path)) {
      const WeightSource source = WeightSource::open(path);
      for (const TensorInfo& t : source.tensors())
        fmt::print("{:<6} {:<24} {}\n", name_of(t.dtype),
                   fmt::format("[{}]", fmt::join(t.shape, ", ")), t.name);
      fmt::print("{} tensors, names of {}\n", source.tensors().size(), name_of(source.dialect()));
    } else if (is_record_file_name(path)) {
      print_records(path, row, vocab_file, coloured);
    } else if (path.ends_with(".gguf")) {
      print_gguf(path);
    } else if (path.ends_with(".ckpt")) {
      const auto reader = open_mindspore_ckpt(path);
      for (const auto& [key, text] : reader->texts())
        fmt::print("{} = {}\n", escaped(key, 100), escaped(text, 60));
      print_tensors(*reader);
    } else if (path.ends_with(".bin") || path.ends_with(".pth") || path.ends_with(".pt")) {
      print_tensors(*open_torch(path));
    } else if (path.ends_with(".index.json")) {
      print_tensors(*open_safetensors_index(path));
    } else {
      const auto reader = open_safetensors(path);
      for (const auto& [key, text] : reader->metadata())
        fmt::print("{} = {}\n", escaped(key, 100), escaped(text, 60));
      print_tensors(*reader);
    }
  }
  return 0;
}

}  // namespace cria::cli
