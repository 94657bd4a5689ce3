// Command lines that cannot be meant.
#include "formats/files.h"
#include "refused.h"

namespace cria::e2e {
namespace {

struct BadCommand {
  int exit;
  const char* words;
};
void PrintTo(const BadCommand& c, std::ostream* out) { *out << c.words; }

class BadFlags : public testing::TestWithParam<BadCommand> {};
TEST_P(BadFlags, AreOneLineAndNoOutput) { expect_refused(GetParam().words, GetParam().exit); }

INSTANTIATE_TEST_SUITE_P(
    Commands, BadFlags,
    testing::Values(
        BadCommand{2, "nonsense"}, BadCommand{2, "--nonsense"}, BadCommand{2, "genrate"},
        BadCommand{2, "inspect"}, BadCommand{2, "inspect --row"}, BadCommand{2, "verify"},
        BadCommand{2, "inspect {i}/tiny.gguf --color blue"},
        BadCommand{2, "inspect {i}/rows.mindrecord --row 0"},
        BadCommand{2, "inspect {i}/rows.mindrecord --row x --vocab_file {i}/tok.model"},
        BadCommand{2, "inspect {i}/rows.mindrecord --row 99 --vocab_file {i}/tok.model"},
        BadCommand{2, "inspect {i}/rows.mindrecord --row -1 --vocab_file {i}/tok.model"},
        BadCommand{2, "convert"}, BadCommand{2, "convert --output {o}/y"},
        BadCommand{2, "convert --input {i}/tiny"},
        BadCommand{2, "convert --input {i}/tiny --random tiny --output {o}/y"},
        BadCommand{2, "convert --random huge --output {o}/y"},
        BadCommand{2, "convert --random tiny --dtype int3 --output {o}/y"},
        BadCommand{2, "convert --random tiny --to zip --output {o}/y"},
        BadCommand{2, "convert --random tiny --seed many --output {o}/y"},
        BadCommand{2, "convert --random tiny --max_shard_gib 0 --output {o}/y"},
        BadCommand{2, "convert --in {i}/tiny --output {o}/y --out {o}/z --x 1"},
        BadCommand{2, "convert --input {i}/empty_folder --output {o}/y"},
        BadCommand{2, "convert --input {i}/tiny.ckpt --output {o}/y"},
        BadCommand{4, "convert --random tiny --output {o}/no/such/y.ckpt"},
        BadCommand{4, "convert --random tiny --output {o}/no/such/y.gguf"},
        BadCommand{4, "convert --random tiny --output {i}/tiny.gguf/y"}, BadCommand{2, "quantize"},
        BadCommand{2, "quantize --model {i}/tiny --output {o}/y"},
        BadCommand{2, "quantize --model {i}/tiny --type q8_0"},
        BadCommand{2, "quantize --model {i}/tiny --type q3_k --output {o}/y"},
        BadCommand{2, "quantize --model {i}/tiny --type f16 --output {o}/y"},
        BadCommand{2, "quantize --model {i}/tiny --type q8_0 --head q9 --output {o}/y"},
        BadCommand{2, "quantize --model {i}/tiny --type q8_0 --embedding i8 --output {o}/y"},
        BadCommand{2, "quantize --model {i}/tiny --type q8_0 --threads -1 --output {o}/y"},
        BadCommand{2, "quantize --model {i}/tiny --type q8_0 --threads 9999 --output {o}/y"},
        BadCommand{2, "quantize --model {i}/tiny --type q8_0 --calibrate_tokens 0 --output {o}/y"},
        BadCommand{
            2, "quantize --model {i}/tiny --type q8_0 --calibrate {i}/tok.model --output {o}/y"},
        BadCommand{4,
                   "quantize --model {i}/tiny --type q8_0 --calibrate {o}/no --vocab_file "
                   "{i}/tok.model --output {o}/y"},
        BadCommand{2, "quantize --model {i}/tiny --type q8_0 --output {i}/tiny.gguf"},
        BadCommand{2, "quantize --model {i}/tiny.ckpt --type q8_0 --output {o}/y"},
        BadCommand{2, "quantize --model {i}/empty_folder --type q8_0 --output {o}/y"},
        BadCommand{4, "quantize --model {i}/tiny --type q8_0 --output {o}/no/such/y"},
        BadCommand{4, "quantize --model {i}/tiny --type q8_0 --overwrite --output {i}"},
        BadCommand{2, "convert-weight"},
        BadCommand{2, "convert-weight --model gpt --input_path {i}/tiny --output_path {o}/y"},
        BadCommand{2, "convert-weight --input_path {i}/tiny --output_path {o}/y --dtype fp8"},
        BadCommand{4, "convert-weight --input_path {i}/tiny --output_path {o}/no/such/y"},
        BadCommand{2, "convert-weight --input_path {i}/empty_folder --output_path {o}/y"},
        BadCommand{2, "generate"}, BadCommand{2, "generate --model {i}/tiny"},
        BadCommand{2, "generate --model {i}/tiny --prompt a --token_ids 1"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 1 --weights q3_k"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 1 --weights f32"},
        BadCommand{2, "eval"}, BadCommand{2, "eval --model {i}/tiny"},
        BadCommand{2, "eval --model {i}/tiny --text {i}/tiny/config.json"},
        BadCommand{2, "eval --model {i}/tiny.gguf --text {i}/no_such_text"},
        BadCommand{2, "eval --model {i}/tiny.gguf --text {i}/tiny/config.json --tokens -1"},
        BadCommand{2,
                   "eval --model {i}/tiny.gguf --text {i}/tiny/config.json --reference_dtype fp32"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 1,,2"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 1,2,"},
        BadCommand{2, "generate --model {i}/tiny --token_ids x"},
        BadCommand{2, "generate --model {i}/tiny --token_ids -5"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 512"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 99999999999"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 1 --max_new_tokens -1"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 1 --eos_ids a"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 1 --dtype q4"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 1 --threads -1"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 1 --repetition_penalty 0"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 1 --do_sample --temperature -1"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 1 --do_sample --top_p 7"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 1 --t 1"},
        BadCommand{2, "generate --model {i}/tiny --token_ids 1 --json=maybe"},
        BadCommand{2, "generate --model {i}/tiny --prompt a"},
        BadCommand{2,
                   "generate --model {i}/tiny --prompt a --vocab_file {i}/tok.model "
                   "--prompt_template poem"},
        BadCommand{2, "probe"}, BadCommand{2, "probe --model {i}/tiny --output {o}/y"},
        BadCommand{
            2, "probe --model {i}/tiny --input {i}/probe.safetensors --output {o}/y --dtype fp16"},
        BadCommand{3,
                   "probe --model {i}/tiny --input {i}/probe.safetensors --output {o}/y --train"},
        BadCommand{3, "probe --model {i}/tiny --input {i}/tiny.safetensors --output {o}/y"},
        BadCommand{
            2,
            "probe --model {i}/tiny --input {i}/probe.safetensors --output {o}/y --optimizer SGD9"},
        BadCommand{2,
                   "probe --model {i}/tiny --input {i}/probe.safetensors --output {o}/y --schedule "
                   "zigzag"},
        BadCommand{2,
                   "probe --model {i}/tiny --input {i}/probe.safetensors --output {o}/y --lr fast"},
        BadCommand{4,
                   "probe --model {i}/tiny --input {i}/probe.safetensors --output {o}/no/such/y"},
        BadCommand{2,
                   "probe --model {i}/tiny --input {i}/probe.safetensors --output {o}/y --beta1 1"},
        BadCommand{2,
                   "probe --model {i}/tiny --input {i}/probe.safetensors --output {o}/y --eps 0"},
        BadCommand{2,
                   "probe --model {i}/tiny --input {i}/probe.safetensors --output {o}/y "
                   "--weight_decay -1"},
        BadCommand{2,
                   "probe --model {i}/tiny --input {i}/probe.safetensors --output {o}/y "
                   "--max_grad_norm nan"},
        BadCommand{2, "bench --model {i}/tiny --random tiny"}, BadCommand{2, "bench --random huge"},
        BadCommand{2, "bench --what fly"}, BadCommand{2, "bench --what prefill,"},
        BadCommand{2, "bench --random tiny --what load"},
        BadCommand{2, "bench --random tiny --dtype fp16"},
        BadCommand{2, "bench --random tiny --prompt 0"},
        BadCommand{2, "bench --random tiny --prompt 8193"},
        BadCommand{2, "bench --random tiny --tokens -1"},
        BadCommand{2, "bench --random tiny --depth 8192"},
        BadCommand{2, "bench --random tiny --batch 0"},
        BadCommand{2, "bench --random tiny --repeat 0"},
        BadCommand{2, "bench --what peaks --repeat 1001"},
        BadCommand{2, "bench --random tiny --threads -1"}, BadCommand{2, "bench --json=maybe"},
        BadCommand{2, "bench --model {i}/empty_folder"}, BadCommand{2, "bench --prefill 3"},
        BadCommand{2, "tokenize"}, BadCommand{2, "tokenize --vocab_file {i}/tok.model"},
        BadCommand{3, "tokenize --vocab_file {i}/tok.model --input {i}/tok.model --output {o}/y"},
        BadCommand{
            3,
            "tokenize --vocab_file {i}/tok.model --input {i}/texts.jsonl --output {o}/y --decode"},
        BadCommand{
            4,
            "tokenize --vocab_file {i}/tok.model --input {i}/texts.jsonl --output {o}/no/such/y"},
        BadCommand{4, "tokenize --vocab_file {i}/tok.model --input {i}/missing --output {o}/y"},
        BadCommand{4, "tokenize --vocab_file {i}/tok.model --input {i}/tiny --output {o}/y"},
        BadCommand{2, "alpaca-convert --data {i}/alpaca.json --outpu {o}/y --x"},
        BadCommand{4, "alpaca-convert --data_path {i}/alpaca.json --output_path {o}/no/such/y"},
        BadCommand{2, "preprocess --dataset_type poems"},
        BadCommand{2, "preprocess --tokenizer bert"}, BadCommand{2, "preprocess --compat torch"},
        BadCommand{2, "preprocess --file_partition 0"}, BadCommand{2, "preprocess --repeat 0"},
        BadCommand{2, "preprocess --threads -1"},
        BadCommand{2,
                   "preprocess --dataset_type qa --input_glob {i}/conversations.json --model_file "
                   "{i}/tok.model --output_file {o}/y.mindrecord --seq_length 0"},
        BadCommand{2,
                   "preprocess --dataset_type qa --input_glob {i}/conversations.json --model_file "
                   "{i}/tok.model --output_file {o}/y.mindrecord --pad_token 99999"},
        BadCommand{2,
                   "preprocess --dataset_type qa --input_glob {i}/conversations.json --model_file "
                   "{i}/tok.model --output_file {o}/y.mindrecord --pad_token 257 --eos_token 257"},
        BadCommand{2,
                   "preprocess --dataset_type qa --input_glob {i}/conversations.json --model_file "
                   "{i}/tok.model --output_file {i}/rows.mindrecord"},
        BadCommand{2, "plan"}, BadCommand{2, "plan --model tiny --config {i}/run.yaml"},
        BadCommand{2, "plan --model huge"}, BadCommand{2, "plan --model {i}/empty_folder"},
        BadCommand{2, "plan --config {i}/missing.yaml"},
        BadCommand{2, "plan --model tiny --device_memory lots"},
        BadCommand{2, "plan --model tiny --device_memory -1GB"},
        BadCommand{2, "plan --model tiny --ranks -1"},
        BadCommand{2, "plan --model tiny --ranks 4 --dp 2"},
        BadCommand{2, "plan --model tiny --mp 3"}, BadCommand{2, "plan --model tiny --pp 2"},
        BadCommand{2, "plan --model tiny --dp 70000"},
        BadCommand{2, "plan --model tiny --dp 65536 --mp 65536"},
        BadCommand{2, "plan --model tiny --batch_size 0"},
        BadCommand{2, "plan --model tiny --seq_length 0"},
        BadCommand{2, "plan --model tiny --threads -1"}, BadCommand{2, "plan --model tiny --x.y 1"},
        BadCommand{2, "plan --model tiny --json=7"}, BadCommand{2, "verify {i}/empty_folder"}));

// Several commands compare weights with a config; the message is about the weights, whichever it was.
TEST(WeightsOfAnotherShape, AreNamedAndNotTheCommand) {
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  std::string config = test::slurp(valid_files() + "/config.json");
  const std::string key = "\"intermediate_size\":";
  ASSERT_NE(config.find(key), std::string::npos);
  config.insert(config.find_first_of("0123456789", config.find(key)), "1");
  test::spew(folder / "config.json", config);
  for (const char* words : {"quantize --model {i}/tiny.ckpt --config {o}/config.json --type q8_0",
                            "convert --input {i}/tiny.ckpt --config {o}/config.json"}) {
    const Outcome got =
        run(words_of(std::string(words) + " --output {o}/y", "", valid_files(), folder.path()));
    EXPECT_EQ(got.exit, 9) << got.err;
    EXPECT_THAT(got.err, testing::StartsWith("error: weights: "));
    EXPECT_THAT(got.err, testing::HasSubstr("has another shape than the config says"));
  }
}

}  // namespace
}  // namespace cria::e2e
