// Any command line, words ended by NUL, for a command with flags of every kind.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/flags.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::string> arguments;
  for (std::string_view rest(reinterpret_cast<const char*>(data), size); !rest.empty();) {
    const size_t end = std::min(rest.find('\0'), rest.size());
    const std::string_view word = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    // Help is printed, which is slow and finds nothing.
    if (!word.starts_with("-h") && !word.starts_with("--h")) arguments.emplace_back(word);
  }
  std::string text;
  std::optional<std::string> maybe_text;
  int64_t integer = 0;
  std::optional<int64_t> maybe_integer;
  double number = 0;
  bool boolean = false;
  std::optional<bool> maybe_boolean;
  std::vector<std::string> texts, words;
  std::vector<std::pair<std::string, std::string>> overrides;
  cria::Flags flags("cria fuzz", "Nothing.", "  cria fuzz");
  flags.text("model", text, "a text");
  flags.text("max_text", maybe_text, "a text");
  flags.integer("max_steps", integer, "a number");
  flags.integer("seed", maybe_integer, "a number");
  flags.number("top_p", number, "a number");
  flags.boolean("resume", boolean, "a switch");
  flags.boolean("do_eval", maybe_boolean, "a switch");
  flags.texts("predict_data", texts, "texts");
  flags.positional("file", words, "files");
  flags.alias("weights", "model");
  flags.allow_overrides(overrides);
  try {
    flags.parse(arguments);
  } catch (const cria::UsageError&) {
  }
  return 0;
}
