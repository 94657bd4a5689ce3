// The subcommands: one file each, wiring only.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria::cli {

/// `name` is what the user called it, for messages and help; `arguments` come without it. Returns the exit code; throws Error.
using Command = int (*)(const std::string& name, const std::vector<std::string>& arguments);

int alpaca_convert(const std::string& name, const std::vector<std::string>& arguments);
int preprocess(const std::string& name, const std::vector<std::string>& arguments);
int convert_weight(const std::string& name, const std::vector<std::string>& arguments);
int convert(const std::string& name, const std::vector<std::string>& arguments);
int quantize(const std::string& name, const std::vector<std::string>& arguments);
int transform(const std::string& name, const std::vector<std::string>& arguments);
int run(const std::string& name, const std::vector<std::string>& arguments);
int run_llama3(const std::string& name, const std::vector<std::string>& arguments);
int run_mindformer(const std::string& name, const std::vector<std::string>& arguments);
int plan(const std::string& name, const std::vector<std::string>& arguments);
int finetune(const std::string& name, const std::vector<std::string>& arguments);
int generate(const std::string& name, const std::vector<std::string>& arguments);
int eval(const std::string& name, const std::vector<std::string>& arguments);
int bench(const std::string& name, const std::vector<std::string>& arguments);
int probe(const std::string& name, const std::vector<std::string>& arguments);
int tokenize(const std::string& name, const std::vector<std::string>& arguments);
int inspect(const std::string& name, const std::vector<std::string>& arguments);
int verify(const std::string& name, const std::vector<std::string>& arguments);
int launch(const std::string& name, const std::vector<std::string>& arguments);
int launch_rank(const std::string& name, const std::vector<std::string>& arguments);

struct Entry {
  std::string_view name;         // cria <name>
  std::string_view recipe_name;  // the link's name, or empty
  std::string_view job;          // empty: not for users, left out of the list
  Command command;
};
std::span<const Entry> commands();

}  // namespace cria::cli
