// finetune, run_llama3 and cria run: what cannot be meant, and what does not belong together.
#include "formats/files.h"
#include "refused.h"

namespace cria::e2e {
namespace {

struct Bad {
  int exit;
  const char* more;
};
void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.more; }

class BadFinetune : public testing::TestWithParam<Bad> {};
TEST_P(BadFinetune, IsOneLineAndNoOutput) {
  std::string words = "finetune ";
  // Later words win nothing: a flag given twice is refused, so defaults are added only where they are missing.
  const std::string more = GetParam().more;
  for (const auto& [flag, value] :
       {std::pair("--model", "{i}/tiny"), std::pair("--data", "{i}/rows.mindrecord"),
        std::pair("--output", "{o}/y"), std::pair("--seq_length", "512"),
        std::pair("--vocab_file", "{i}/tok.model"), std::pair("--batch_size", "1")})
    if (more.find(std::string(flag) + " ") == std::string::npos)
      words += fmt::format("{} {} ", flag, value);
  expect_refused(words + more, GetParam().exit);
}
TEST(FinetuneMemory, WhatDoesNotFitIsRefusedBeforeAnythingIsWritten) {
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  const Outcome got = run(words_of(
      "finetune --model {i}/tiny --data {i}/alpaca.json --vocab_file {i}/tok.model --output {o}/y "
      "--seq_length 512 --batch_size 1048576",
      "", valid_files(), folder.path()));
  EXPECT_EQ(got.exit, 5) << got.err;
  EXPECT_THAT(got.err, testing::HasSubstr("error: memory: this run needs about "));
  EXPECT_THAT(got.err, testing::HasSubstr("try: --recompute, --storage bf16, a smaller"));
  EXPECT_EQ(std::ranges::count(got.err, '\n'), 1);
  EXPECT_FALSE(std::filesystem::exists(folder / "y"));
}

INSTANTIATE_TEST_SUITE_P(
    Flags, BadFinetune,
    testing::Values(Bad{2, "--nonsense 1"}, Bad{4, "--model {o}/none"},
                    Bad{2, "--model {i}/empty_folder"}, Bad{4, "--data {o}/none.json"},
                    Bad{4, "--data {o}/none.mindrecord"}, Bad{2, "--data {i}/empty_folder"},
                    Bad{3, "--data {i}/tok.model"}, Bad{4, "--vocab_file {o}/none"},
                    Bad{3, "--vocab_file {i}/alpaca.json"}, Bad{4, "--eval_data {o}/none.json"},
                    Bad{3, "--data {i}/alpaca.json --eval_data {i}/tok.model"},
                    Bad{4, "--config {o}/none.json"}, Bad{3, "--config {i}/tok.model"},
                    Bad{9, "--vocab_file {i}/tok.json"}, Bad{9, "--seq_length 128"},
                    Bad{2, "--data {i}/alpaca.json --seq_length 64"}, Bad{9, "--resume"},
                    Bad{2, "--data {i}/alpaca.json --pad_token 99999"},
                    Bad{2, "--data {i}/alpaca.json --pad_token <nonsense>"},
                    Bad{2, "--data {i}/alpaca.json --pad_token 257"}, Bad{2, "--seq_length 1"},
                    Bad{2, "--seq_length 100000000"}, Bad{2, "--seq_length x"},
                    Bad{2, "--epochs 0"}, Bad{2, "--batch_size 0"}, Bad{2, "--batch_size 1000"},
                    Bad{2, "--batch_size -1"}, Bad{2, "--batch_size 4611686018427387904"},
                    Bad{2, "--gradient_accumulation_steps 4611686018427387904 --batch_size 4"},
                    Bad{2, "--epochs 9223372036854775807"},
                    Bad{2, "--gradient_accumulation_steps 0"}, Bad{2, "--lr nan"},
                    Bad{2, "--lr -1"}, Bad{2, "--lr_end inf"}, Bad{2, "--warmup_steps -1"},
                    Bad{2, "--total_steps -5"}, Bad{2, "--max_steps -1"}, Bad{2, "--save_every -1"},
                    Bad{2, "--weight_decay -1"}, Bad{2, "--max_grad_norm -1"},
                    Bad{2, "--max_grad_norm nan"}, Bad{2, "--schedule zigzag"},
                    Bad{2, "--optimizer SGD9"}, Bad{2, "--dtype fp8"}, Bad{2, "--storage int8"},
                    Bad{2, "--export_dtype q4"}, Bad{2, "--seed -1"}, Bad{2, "--threads -1"},
                    Bad{2, "--threads 5000"}, Bad{4, "--output {i}/tok.model/y"}));

class BadRun : public testing::TestWithParam<Bad> {};
TEST_P(BadRun, IsOneLineAndNoOutput) {
  std::string words = GetParam().more;
  const auto fill = [&](const std::string& place, const std::string& text) {
    if (const size_t at = words.find(place); at != std::string::npos)
      words.replace(at, place.size(), text);
  };
  fill("TRAIN", "run_llama3 --config {i}/run.yaml --train_data {i}/rows.mindrecord");
  fill("PREDICT", "run_llama3 --config {i}/run.yaml --run_mode predict");
  fill("EVAL", "run --config {i}/run.yaml --run_mode eval --load_checkpoint {i}/tiny");
  fill("READY", "--load_checkpoint {i}/tiny --vocab_file {i}/tok.model");
  expect_refused(words, GetParam().exit);
}
INSTANTIATE_TEST_SUITE_P(
    CommandLines, BadRun,
    testing::Values(
        Bad{2, "run_llama3"}, Bad{2, "run"}, Bad{2, "run_mindformer"},
        Bad{2, "run python research/llama3/run_llama3.py"}, Bad{2, "run python"},
        Bad{2, "run_llama3 --config {o}/none.yaml"}, Bad{2, "run_llama3 --config {i}/tok.model"},
        Bad{2, "run_llama3 --config {i}"}, Bad{2, "run_llama3 --config"},
        Bad{2, "TRAIN --nonsense 1"}, Bad{2, "TRAIN --epochs 1"}, Bad{2, "TRAIN --m 1"},
        Bad{2, "TRAIN --run_mode trian"}, Bad{2, "TRAIN --use_parallel maybe"},
        Bad{2, "TRAIN --seq_length many"}, Bad{2, "TRAIN --task poem"},
        Bad{2, "TRAIN --max_steps -1"}, Bad{2, "TRAIN --threads -1"},
        Bad{2, "TRAIN --use_parallel True --dp 8"}, Bad{2, "TRAIN --a.b 1"},
        Bad{2, "TRAIN --model.model_config"}, Bad{2, "TRAIN --model.model_config.sq_length 1"},
        Bad{2, "TRAIN --model.model_config.seq_length 1.5"},
        Bad{2, "TRAIN --model.model_config.seq_length [1"},
        Bad{2, "run --config {i}/run.yaml --options seed"},
        Bad{2, "run --config {i}/run.yaml --options =1"},
        Bad{2, "run --config {i}/run.yaml --only_save_strategy True"},
        Bad{2, "run --config {i}/run.yaml --batch_size 0"},
        Bad{2, "run --config {i}/run.yaml --predict_batch_size 0"},
        Bad{2, "run --config {i}/run.yaml --seed -1"},
        Bad{2,
            "run --config {i}/run.yaml --resume_training {o}/none --train_dataset_dir "
            "{i}/rows.mindrecord"},
        Bad{2, "run_llama3 --config {i}/run.yaml"},
        Bad{4, "run_llama3 --config {i}/run.yaml --train_data {o}/none"},
        Bad{2, "run_llama3 --config {i}/run.yaml --train_data {i}/empty_folder"},
        Bad{3, "run_llama3 --config {i}/run.yaml --train_data {i}/tok.model"},
        Bad{4, "TRAIN --load_checkpoint {o}/none"},
        Bad{2, "TRAIN --load_checkpoint {i}/empty_folder"}, Bad{4, "TRAIN --vocab_file {o}/none"},
        Bad{3, "TRAIN --vocab_file {i}/alpaca.json"}));
INSTANTIATE_TEST_SUITE_P(
    Values, BadRun,
    testing::Values(
        Bad{2, "TRAIN --runner_config.epochs 0"}, Bad{2, "TRAIN --runner_config.batch_size 3"},
        Bad{2, "TRAIN --runner_config.epochs 1099511627776 --runner_config.batch_size -1"},
        Bad{2, "TRAIN --runner_config.sink_size 0"},
        Bad{2, "TRAIN --runner_config.sink_mode True --runner_config.sink_size 3"},
        Bad{2, "TRAIN --lr_schedule.learning_rate -1"},
        Bad{2, "TRAIN --lr_schedule.learning_rate .inf"},
        Bad{2, "TRAIN --lr_schedule.learning_rate fast"},
        Bad{2, "TRAIN --lr_schedule.type ZigZagLR"}, Bad{2, "TRAIN --lr_schedule.warmup_ratio 2"},
        Bad{2, "TRAIN --lr_schedule.warmup_steps -1"}, Bad{2, "TRAIN --train_dataset.repeat 0"},
        Bad{2, "TRAIN --train_dataset.input_columns [\"labels\"]"},
        Bad{2, "TRAIN --train_dataset.input_columns [\"input_ids\",\"masks\"]"},
        Bad{2, "TRAIN --train_dataset.eod_reset True"},
        Bad{2, "TRAIN --train_dataset.data_loader.num_samples -1"},
        Bad{2, "TRAIN --train_dataset.data_loader.type TFRecordDataset"},
        Bad{2, "TRAIN --model.model_config.compute_dtype float8"},
        Bad{2, "TRAIN --model.model_config.num_heads 0"},
        Bad{2, "TRAIN --model.model_config.num_heads 5"},
        Bad{2, "TRAIN --model.model_config.n_kv_heads 3"},
        Bad{2, "TRAIN --model.model_config.num_layers 100000"},
        Bad{2, "TRAIN --model.model_config.hidden_size 99999999999999999999"},
        Bad{2, "TRAIN --model.model_config.rms_norm_eps 0"},
        Bad{2, "TRAIN --model.model_config.theta -1"},
        Bad{2,
            "TRAIN --model.model_config.ffn_dim_multiplier -1 "
            "--model.model_config.intermediate_size null"},
        Bad{2, "TRAIN --model.model_config.eos_token_id [1,x]"},
        Bad{2, "TRAIN --model.model_config.eos_token_id 512"},
        Bad{2, "TRAIN --model.model_config.eos_token_id 258"},
        Bad{2, "TRAIN --model.model_config.pad_token_id null"},
        Bad{2, "TRAIN --model.model_config.ignore_token_id -1"},
        Bad{2, "TRAIN --model.model_config.qkv_has_bias True"},
        Bad{2, "TRAIN --model.model_config.extend_method YARN"},
        Bad{2, "TRAIN --model.model_config.extend_method PI --model.model_config.scaling_factor 0"},
        Bad{5, "TRAIN --model.model_config.num_layers 1000 --model.model_config.hidden_size 65536"},
        Bad{2, "PREDICT READY"}, Bad{2, "PREDICT --predict_data x --vocab_file {i}/tok.model"},
        Bad{2, "PREDICT --predict_data x --load_checkpoint {i}/tiny"},
        Bad{4, "PREDICT --predict_data x --load_checkpoint {i}/tiny --vocab_file {o}/none"},
        Bad{9, "PREDICT --predict_data x --load_checkpoint {i}/tiny --vocab_file {i}/tok.json"},
        Bad{2, "PREDICT READY --predict_data x --prompt_template poem"},
        Bad{2, "PREDICT READY --predict_data x\xff"}, Bad{2, "PREDICT READY --predict_data"},
        Bad{2, "PREDICT READY --predict_data longer --max_length 3"},
        Bad{3, "PREDICT READY --predict_data {i}/tiny.gguf"},
        Bad{2, "PREDICT READY --predict_data x --model.model_config.top_p 7"},
        Bad{2, "PREDICT READY --predict_data x --model.model_config.temperature -1"},
        Bad{2, "PREDICT READY --predict_data x --model.model_config.repetition_penalty 0"},
        Bad{2, "PREDICT READY --predict_data x --model.model_config.num_beams 4"},
        Bad{2, "PREDICT READY --predict_data x --model.model_config.min_length 999"},
        Bad{2, "PREDICT READY --predict_data x --processor.tokenizer.add_eos_token True"},
        Bad{2, "EVAL"}, Bad{4, "EVAL --eval_dataset_dir {o}/none"},
        Bad{3, "EVAL --eval_dataset_dir {i}/tok.model"},
        Bad{2,
            "run --config {i}/run.yaml --run_mode eval --eval_dataset_dir "
            "{i}/rows.mindrecord"}));
// Two things that are both well, but not for each other.
INSTANTIATE_TEST_SUITE_P(
    Mismatches, BadRun,
    testing::Values(
        Bad{9, "TRAIN --vocab_file {i}/tok.json"}, Bad{9, "TRAIN --seq_length 128"},
        Bad{9, "TRAIN --model.model_config.bos_token_id 255"},
        Bad{9, "TRAIN --model.model_config.eos_token_id 255"},
        Bad{9, "TRAIN --model.model_config.pad_token_id 255"},
        Bad{9, "TRAIN --model.model_config.vocab_size 500"}, Bad{9, "TRAIN --resume True"},
        Bad{9, "TRAIN --load_checkpoint {i}/tiny --model.model_config.num_layers 3"},
        Bad{9, "TRAIN --load_checkpoint {i}/tiny --model.model_config.theta 10000.0"},
        Bad{9, "TRAIN --load_checkpoint {i}/tiny.ckpt --model.model_config.hidden_size 32"},
        Bad{9, "TRAIN --load_checkpoint {i}/tiny.bin --model.model_config.num_layers 1"},
        Bad{9, "TRAIN --load_checkpoint {i}/tiny.ckpt --model.model_config.num_layers 3"},
        Bad{9, "EVAL --eval_dataset_dir {i}/rows.mindrecord --model.model_config.pad_token_id 5"}));

// Configuration files that break their format, or say what no key means.
struct BadYaml {
  int exit;
  const char* text;
};
void PrintTo(const BadYaml& bad, std::ostream* out) { *out << std::string(bad.text).substr(0, 60); }

class BadConfig : public testing::TestWithParam<BadYaml> {};
TEST_P(BadConfig, IsOneLineAndNoOutput) {
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  test::spew(folder / "c.yaml", GetParam().text);
  expect_refused("run_llama3 --config {x} --train_data {i}/rows.mindrecord", GetParam().exit,
                 folder / "c.yaml");
  expect_refused("run --config {x} --train_dataset_dir {i}/rows.mindrecord", GetParam().exit,
                 folder / "c.yaml");
}
INSTANTIATE_TEST_SUITE_P(
    Texts, BadConfig,
    testing::Values(
        BadYaml{3, "seed: 1\nseed: 2"}, BadYaml{3, "a: [1"}, BadYaml{3, "a: \"x"},
        BadYaml{3, "a: \xff"}, BadYaml{3, "a: *nobody"}, BadYaml{3, "a: &a [*a]"},
        BadYaml{3, "a: !!python/object:os.system x"}, BadYaml{3, "--- 1\n--- 2"},
        BadYaml{3, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"},
        BadYaml{2, "sed: 1"}, BadYaml{2, "seed: x"}, BadYaml{2, "seed: -1"}, BadYaml{2, "- 1"},
        BadYaml{2, "runner_config: {epoch: 1}"}, BadYaml{2, "model: {model_config: {layers: 1}}"},
        BadYaml{2, "callbacks: [{type: Nobody}]"}, BadYaml{2, "callbacks: {}"},
        BadYaml{2, "callbacks: [{type: CheckpointMonitor, prefix: a/b}]"},
        BadYaml{2, "callbacks: [{type: CheckpointMonitor, keep_checkpoint_max: 0}]"},
        BadYaml{2, "optimizer: {type: SGD9}"}, BadYaml{2, "optimizer: {beta1: 1}"},
        BadYaml{2, "optimizer: {betas: [0.9]}"}, BadYaml{2, "optimizer: {eps: 0.0}"},
        BadYaml{2, "optimizer: {weight_decay: -0.1}"},
        BadYaml{2, "runner_wrapper: {scale_sense: 0}"},
        BadYaml{2, "runner_wrapper: {scale_sense: {type: Nobody}}"},
        BadYaml{2, "runner_wrapper: {scale_sense: {loss_scale_value: .nan}}"},
        BadYaml{2, "runner_wrapper: {max_grad_norm: -1.0}"}, BadYaml{4, "base_config: none.yaml"},
        BadYaml{2, "base_config: 7"}, BadYaml{2, "base_config: c.yaml"},
        BadYaml{2, "processor: {tokenizer: {vocab: x}}"}));

}  // namespace
}  // namespace cria::e2e
