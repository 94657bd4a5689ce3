// Runs of several ranks as threads, on a tiny recipe: what tests of the recipe's modes share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/temporary_folder.h"
#include "comm/transport.h"
#include "formats/mindspore_ckpt.h"
#include "recipe/ckpt_files.h"
#include "recipe/keys.h"
#include "recipe/modes.h"
#include "recipe/tiny_recipe.h"

namespace cria::recipe {

/// How many ranks, and what is laid over the configuration.
struct Layout {
  std::string name;
  int dp = 1, tp = 1, pp = 1;
  bool shard = false, vocab_split = false;
  [[nodiscard]] int ranks() const { return dp * tp * pp; }
};

inline const Layout kOne{.name = "one"};
inline const Layout kDp2Shard{.name = "dp2_shard", .dp = 2, .shard = true};
inline const Layout kTp2{.name = "tp2", .tp = 2};
inline const Layout kAll{.name = "dp2_tp2_pp2_shard_vocab",
                         .dp = 2,
                         .tp = 2,
                         .pp = 2,
                         .shard = true,
                         .vocab_split = true};

class Ranks : public ::testing::Test {
 protected:
  void SetUp() override {
    test::write_tiny_records(folder_ / "d.mindrecord");
    std::string ranks;
    const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t byte = 0; byte < 256; ++byte)
      ranks += fmt::format("{}{}== {}\n", digits[byte >> 2], digits[(byte & 3) << 4], byte);
    write_file(folder_ / "tok.model", ranks);
    write_file(folder_ / "random.yaml", test::kTinyRecipe);
  }

  /// The settings of a mode, for a model with a vocabulary of 512 in f32.
  RecipeSettings settings(const Layout& layout, const std::string& mode,
                          const std::vector<std::pair<std::string, std::string>>& more) const {
    YamlNode root = load_config(folder_ / "random.yaml");
    const auto set = [&](const std::string& key, const std::string& value) {
      set_key(root, key, plain_scalar(value));
    };
    set("run_mode", mode);
    set("model.model_config.vocab_size", "512");
    set("model.model_config.eos_token_id", "500");
    set("model.model_config.max_length", "12");
    set("model.model_config.do_sample", "False");
    set("model.model_config.param_init_type", "float32");
    set("train_dataset.data_loader.dataset_dir", folder_ / "d.mindrecord");
    set("eval_dataset.data_loader.dataset_dir", folder_ / "d.mindrecord");
    set("processor.tokenizer.vocab_file", folder_ / "tok.model");
    set("save_file", folder_ / "answers.txt");
    set("runner_config.batch_size", "2");
    set("use_parallel", layout.ranks() > 1 ? "True" : "False");
    set("parallel.enable_parallel_optimizer", layout.shard ? "True" : "False");
    set("parallel.parallel_optimizer_config.parallel_optimizer_threshold", "0");
    set("parallel_config.data_parallel", std::to_string(layout.dp));
    set("parallel_config.model_parallel", std::to_string(layout.tp));
    set("parallel_config.pipeline_stage", std::to_string(layout.pp));
    set("parallel_config.micro_batch_num", std::to_string(layout.pp));
    set("parallel_config.vocab_emb_dp", layout.vocab_split ? "False" : "True");
    for (const auto& [key, value] : more) set(key, value);
    RecipeSettings s = read_settings(root, layout.ranks());
    s.threads = 1;
    s.max_steps = max_steps_;
    s.step_timeout_s = 60;
    s.predict.weights = weights_;
    if (s.predict.prompts.empty()) s.predict.prompts = {"I love", "a", "xyz", "two words", "b"};
    return s;
  }

  /// One run of all ranks; what they log is in <output>/log/rank_N/info.log. The exit code.
  int run(const std::string& output, const Layout& layout, const std::string& mode,
          const std::vector<std::pair<std::string, std::string>>& more = {}) {
    setenv("LOCAL_DEFAULT_PATH", (folder_ / output).c_str(), 1);
    ::testing::internal::CaptureStdout();
    int code = 0;
    try {
      const RecipeSettings s = settings(layout, mode, more);
      run_as_threads(layout.ranks(), [&](Transport& transport) {
        RecipeLog log(OutputFolders(s, transport.rank()).log);
        if (mode == "predict") run_predict(s, transport, log, false);
        if (mode == "eval") run_eval(s, transport, log);
        if (mode == "train") run_train(s, transport, log);
      });
    } catch (const Error& e) {
      message_ = e.what();
      code = static_cast<int>(e.code);
    }
    ::testing::internal::GetCapturedStdout();
    unsetenv("LOCAL_DEFAULT_PATH");
    return code;
  }

  std::string log_of(const std::string& output, int rank = 0) const {
    return read_text(folder_ / fmt::format("{}/log/rank_{}/info.log", output, rank));
  }
  /// The numbers of the recipe's metric.
  std::string metric(const std::string& output, int rank) const {
    const std::string log = log_of(output, rank), begin = "PerplexityMetric = ";
    const size_t at = log.find(begin);
    return at == std::string::npos ? "" : log.substr(at, log.find('\n', at) - at);
  }
  std::string answers() const { return read_text(folder_ / "answers.txt"); }
  std::string at(const std::string& name) const { return folder_ / name; }

  const TemporaryFolder folder_ = TemporaryFolder::in_memory();
  std::string message_;
  int64_t max_steps_ = 2;
  std::string weights_;  // --weights of predict
};

}  // namespace cria::recipe
