#include "recipe/data_setup.h"

#include <algorithm>

#include "base/error.h"
#include "recipe/model_setup.h"
#include "tokenizer/load.h"

namespace cria::recipe {
namespace {

void compare(const DatasetMeta& meta, const std::string& meta_path, const RecipeSettings& s,
             const LlamaConfig& config, const std::string& vocab_file) {
  DatasetExpectation expected;
  expected.vocab_size = config.vocab_size;
  expected.bos = s.model.bos;
  expected.pad = s.model.pad;
  // Any of several may end a reply; the data have one.
  if (!s.model.eos.empty()) {
    const bool listed = std::ranges::find(s.model.eos, meta.eos) != s.model.eos.end();
    expected.eos = listed ? meta.eos : s.model.eos.front();
  }
  if (!vocab_file.empty())
    expected.tokenizer_sha256 = Tokenizer(load_vocabulary(vocab_file)).fingerprint();
  check_dataset_matches(meta, meta_path, expected);
  require_trained_tokens(meta, meta_path);
}

}  // namespace

OpenedData open_data(const std::string& role, const DatasetSettings& data, const RecipeSettings& s,
                     const LlamaConfig& config) {
  require(!data.dataset_dir.empty() || !data.dataset_files.empty(),
          "run: no data set; try: --{} FILE.mindrecord, or {}.data_loader.dataset_dir", role, role);
  require(config.pad_token_id.has_value(),
          "config: model_config.pad_token_id is missing; training must know what padding is");
  const int32_t pad = *config.pad_token_id;
  require(
      std::ranges::find(config.eos_token_ids, pad) == config.eos_token_ids.end(),
      "config: pad_token_id {} is also an eos_token_id, so the model would never learn to stop; "
      "try: prepare the data with another pad token (llama_preprocess --pad_token) and set "
      "model_config.pad_token_id to it",
      pad);
  const std::vector<std::string> files =
      data.dataset_files.empty() ? find_record_files(data.dataset_dir) : data.dataset_files;
  const std::string meta_path = find_dataset_meta(files.front());
  std::optional<DatasetMeta> meta;
  if (!meta_path.empty()) {
    meta = read_dataset_meta(meta_path);
    compare(*meta, meta_path, s, config, given_vocab_file(s));
  }
  Dataset::Options options;
  options.seq_length = s.model.seq_length;
  options.pad = pad;
  options.use_labels = data.use_labels;
  options.shuffle = data.shuffle;
  options.seed = s.seed;
  options.num_samples = data.num_samples;
  options.repeat = data.repeat;
  OpenedData opened{Dataset(files, options), std::move(meta), false};
  require(!data.use_labels || opened.dataset.has_labels(),
          "run: {}: no int32 column labels, which {}.input_columns asks for", files.front(), role);
  if (opened.dataset.samples() > 0 && config.bos_token_id) {
    std::vector<TokenId> ids(static_cast<size_t>(options.seq_length));
    std::vector<int32_t> targets(ids.size());
    opened.dataset.fill(0, 0, 1, ids, targets);
    opened.begins_with_bos = ids[0] == *config.bos_token_id;
  }
  return opened;
}

}  // namespace cria::recipe
