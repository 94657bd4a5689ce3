// The fixtures' greedy continuations as commands.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cria::e2e {

/// `cria generate --json` with the settings of a case of <folder>/generate.json, for these prompts (lists of ids).
inline std::vector<std::string> greedy_words(const std::string& folder, const nlohmann::json& c,
                                             const nlohmann::json& prompts) {
  std::vector<std::string> words = {"generate",
                                    "--model",
                                    folder + "/hf-fp32",
                                    "--dtype",
                                    "fp32",
                                    "--json",
                                    "--max_new_tokens",
                                    c["max_new_tokens"].dump(),
                                    "--eos_ids",
                                    c.contains("eos_token_id") ? c["eos_token_id"].dump() : "none"};
  if (c.contains("repetition_penalty"))
    words.insert(words.end(), {"--repetition_penalty", c["repetition_penalty"].dump()});
  for (const nlohmann::json& ids : prompts) {
    const std::string list = ids.dump();
    words.insert(words.end(), {"--token_ids", list.substr(1, list.size() - 2)});
  }
  return words;
}

}  // namespace cria::e2e
