// cria bench, as its users run it.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "program.h"
#include "valid_files.h"

namespace cria::e2e {
namespace {

using nlohmann::json;
using testing::HasSubstr;

Outcome bench(const std::string& words) { return run(words_of("bench " + words, "", "", "")); }

TEST(BenchCommand, SaysInJsonWhatItMeasured) {
  const Outcome got = bench(
      "--random tiny --prompt 16 --tokens 4 --repeat 1 --what prefill,decode,train --dtype fp32 "
      "--threads 2 --json");
  ASSERT_EQ(got.exit, 0) << got.err;
  const json said = json::parse(got.out);
  EXPECT_EQ(said["threads"], 2);
  EXPECT_EQ(said["model"]["parameters"], 164160);
  ASSERT_EQ(said["jobs"].size(), 3);
  const char* jobs[] = {"prefill", "decode", "train"};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(said["jobs"][i]["job"], jobs[i]);
    EXPECT_GT(said["jobs"][i]["tokens_per_s"], 0);
    EXPECT_GT(said["jobs"][i]["share_of_peak"]["median"], 0);
    EXPECT_GT(said["jobs"][i]["peak_memory_bytes"], 0);
  }
}

TEST(BenchCommand, TakesTheShapeOfAConfiguration) {
  const Outcome got =
      run(words_of("bench --random {i}/config.json --prompt 16 --repeat 1 --what "
                   "prefill --threads 1 --json",
                   "", valid_files(), ""));
  ASSERT_EQ(got.exit, 0) << got.err;
  EXPECT_EQ(json::parse(got.out)["model"]["parameters"], 164160);
}

TEST(BenchCommand, MeasuresTheMachineWithoutAModel) {
  const Outcome got = bench("--what peaks --repeat 1 --threads 1");
  EXPECT_EQ(got.exit, 0) << got.err;
  EXPECT_THAT(got.out, HasSubstr("fp32 multiply-adds"));
  EXPECT_THAT(got.out, HasSubstr("reading memory"));
  EXPECT_THAT(got.out, testing::Not(HasSubstr("tokens/s")));
}

TEST(BenchCommand, HelpShowsExamples) {
  const Outcome got = bench("--help");
  EXPECT_EQ(got.exit, 0);
  EXPECT_THAT(got.out, HasSubstr("cria bench --random 1b --what decode --batch 8"));
}

TEST(BenchCommand, RefusesWhatDoesNotFit) {
  const Outcome got = bench("--random 70b --what train --batch 1024");
  EXPECT_EQ(got.exit, 5);
  EXPECT_THAT(got.err, HasSubstr("error: memory: "));
  EXPECT_EQ(std::ranges::count(got.err, '\n'), 1);
}

}  // namespace
}  // namespace cria::e2e
