#include "cli/text_tokens.h"

#include "base/error.h"
#include "base/file.h"
#include "tokenizer/load.h"

namespace cria::cli {

std::vector<int32_t> tokens_of_text(const std::string& text, const std::string& vocab_file,
                                    const WeightSource& source, const LlamaConfig& config,
                                    int64_t limit, const std::string& command) {
  const auto vocabulary = find_vocabulary(source.tokenizer_path(), vocab_file);
  require(vocabulary.has_value(), "{}: {}: no tokenizer beside the weights; try: --vocab_file",
          command, source.path());
  std::vector<int32_t> ids = Tokenizer(*vocabulary).encode(read_text(text), {});
  if (limit > 0 && std::ssize(ids) > limit) ids.resize(static_cast<size_t>(limit));
  for (const int32_t id : ids)
    require(id < config.vocab_size, "{}: {}: token {} is outside the model's vocabulary of {}",
            command, text, id, config.vocab_size);
  return ids;
}

}  // namespace cria::cli
