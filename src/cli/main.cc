// cria: picks the subcommand by the first word, or by the name the program was called by.
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/commands.h"

namespace cria::cli {

std::span<const Entry> commands() {
  static constexpr std::array entries = {
      Entry{"alpaca-convert", "alpaca_converter", "Alpaca JSON to conversations", alpaca_convert},
      Entry{"preprocess", "llama_preprocess", "conversations or text to MindRecord", preprocess},
      Entry{"convert", "", "weights between all formats, any direction", convert},
      Entry{"convert-weight", "convert_weight",
            "the recipe's converter: Hugging Face to .ckpt, or back", convert_weight},
      Entry{"quantize", "", "weights to a GGUF of blocks of 4 to 8 bits", quantize},
      Entry{"run", "run_mindformer", "train, evaluate or ask as a YAML file of the recipe says",
            run},
      Entry{"run-llama3", "run_llama3", "the same with the flags of the recipe's Llama 3 script",
            run_llama3},
      Entry{"finetune", "", "weights and data to a fine-tuned model, in one command", finetune},
      Entry{"plan", "", "what a training run takes, and which layout suits it, before it starts",
            plan},
      Entry{"transform", "transform_ckpt", "checkpoints from one layout over devices to another",
            transform},
      Entry{"launch", "", "start the ranks of a run, end all when one fails", launch},
      Entry{"launch-rank", "", "", launch_rank},
      Entry{"generate", "", "continue prompts", generate},
      Entry{"eval", "", "perplexity of a text, and the divergence from a reference", eval},
      Entry{"bench", "", "how fast this machine does each job, beside what it could do", bench},
      Entry{"tokenize", "", "text to token ids and back, for comparison", tokenize},
      Entry{"probe", "", "logits, losses, gradients, training steps, for comparison", probe},
      Entry{"inspect", "", "what is in a file of any format we know", inspect},
      Entry{"verify", "", "check the sums of training checkpoints", verify},
  };
  return entries;
}

namespace {

void print_usage() {
  fmt::print(
      "cria {}: raise your own Llama 3\n\nusage: cria COMMAND [flags]      cria COMMAND --help\n\n",
      CRIA_VERSION);
  for (const Entry& e : commands()) {
    if (e.job.empty()) continue;
    const std::string also =
        e.recipe_name.empty() ? "" : fmt::format("  (also as {})", e.recipe_name);
    fmt::print("  {:<16}{}{}\n", e.name, e.job, also);
  }
}

int dispatch(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  const std::string program = argc > 0 ? base_name(argv[0]) : "cria";
  for (const Entry& e : commands()) {
    if (!e.recipe_name.empty() && e.recipe_name == program) return e.command(program, words);
  }
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    print_usage();
    return 0;
  }
  if (words[0] == "--version") {
    fmt::print("cria {}\n", CRIA_VERSION);
    return 0;
  }
  std::string wanted = words[0];
  std::replace(wanted.begin(), wanted.end(), '_', '-');
  std::vector<std::string> names;
  for (const Entry& e : commands()) {
    if (e.name == wanted) return e.command("cria " + wanted, {words.begin() + 1, words.end()});
    names.emplace_back(e.name);
  }
  const auto guess = nearest(wanted, names);
  throw UsageError(fmt::format("cria: unknown command \"{}\"; try: {}", escaped(words[0]),
                               guess ? "cria " + *guess : "cria --help"));
}

}  // namespace
}  // namespace cria::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  return cria::run_guarded(cria::cli::dispatch, argc, argv);
}
