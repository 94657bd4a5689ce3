// cria tokenize: JSON lines of texts to ids and back, so that anybody can hold our tokenizer against another.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/json.h"
#include "cli/commands.h"
#include "tokenizer/load.h"

namespace cria::cli {
namespace {

bool member_is_true(const Json& line, const char* key) {
  const auto it = line.find(key);
  return it != line.end() && it->is_boolean() && it->get<bool>();
}

std::string encode_line(const Tokenizer& tokenizer, const Json& line, const std::string& where) {
  require<FormatError>(line.contains("text") && line["text"].is_string(), "{}: no string \"text\"",
                       where);
  EncodeOptions options;
  options.allow_special = member_is_true(line, "allow_special");
  options.bos = member_is_true(line, "bos");
  options.eos = member_is_true(line, "eos");
  if (line.contains("compat")) {
    require<FormatError>(
        line["compat"].is_string() && line["compat"].get<std::string>() == "mindformers",
        "{}: unknown \"compat\", expected \"mindformers\"", where);
    options.nfc = true;
    options.allow_special = true;
  }
  const std::vector<TokenId> ids =
      tokenizer.encode(line["text"].get_ref<const std::string&>(), options);
  return fmt::format("{{\"ids\": [{}]}}\n", fmt::join(ids, ", "));
}

std::string decode_line(const Tokenizer& tokenizer, const Json& line, const std::string& where) {
  require<FormatError>(line.contains("ids") && line["ids"].is_array(), "{}: no list \"ids\"",
                       where);
  std::vector<TokenId> ids;
  for (const Json& id : line["ids"]) {
    require<FormatError>(id.is_number_integer(), "{}: an id is not a whole number", where);
    const auto value = id.get<int64_t>();
    require<FormatError>(value >= 0 && value < tokenizer.vocab_size(),
                         "{}: id {} is outside the vocabulary, expected 0 to {}", where, value,
                         tokenizer.vocab_size() - 1);
    ids.push_back(static_cast<TokenId>(value));
  }
  Json out = Json::object();
  out["text"] = tokenizer.decode(ids, member_is_true(line, "skip_special"));
  return out.dump() + "\n";
}

}  // namespace

int tokenize(const std::string& name, const std::vector<std::string>& arguments) {
  std::string vocab_file, input, output;
  bool decode = false;
  Flags flags(name,
              "Tokenizes JSON lines. Each {\"text\", \"allow_special\", \"bos\", \"eos\"} gives "
              "{\"ids\"}; with --decode each {\"ids\"} gives {\"text\"}.",
              "  cria tokenize --vocab_file tokenizer.model --input in.jsonl --output out.jsonl");
  flags.text("vocab_file", vocab_file,
             "tokenizer.model, tokenizer.json, a GGUF, or a folder with one");
  flags.text("input", input, "JSON lines");
  flags.text("output", output, "JSON lines, one for each of the input");
  flags.boolean("decode", decode, "ids to text");
  for (const char* needed : {"vocab_file", "input", "output"}) flags.require_flag(needed);
  if (!flags.parse(arguments)) return 0;

  const Tokenizer tokenizer(load_vocabulary(vocab_file));
  const MappedFile file(input);
  AtomicFile out(output);
  std::string_view rest = file.text();
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    const std::string_view text = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("tokenize: {} line {}", input, number);
    const Json line = parse_json(text, "tokenize", input, text.data() - file.text().data());
    require<FormatError>(line.is_object(), "{}: not a JSON object", where);
    out.write(decode ? decode_line(tokenizer, line, where) : encode_line(tokenizer, line, where));
  }
  out.commit();
  return 0;
}

}  // namespace cria::cli
