// The data set of a run, compared with the configuration before anything is computed.
#pragma once

#include "data/dataset_meta.h"
#include "data/loader.h"
#include "recipe/settings.h"

namespace cria::recipe {

struct OpenedData {
  Dataset dataset;
  std::optional<DatasetMeta> meta;  // beside the records, when there is one
  bool begins_with_bos = false;     // the first record does
};
/// `role` is "train_dataset" or "eval_dataset". What is known about the records must agree with the ids in `config` and with
/// `vocab_file` when one is given. Throws MismatchError naming both; UsageError when pad is an eos or no path is given.
OpenedData open_data(const std::string& role, const DatasetSettings& data,
                     const RecipeSettings& settings, const LlamaConfig& config);

}  // namespace cria::recipe
