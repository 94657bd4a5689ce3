// What is measured, refused and reported.
#include "measure/bench.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "measure/counts.h"
#include "measure/timing.h"

namespace cria {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TEST(Summary, IsTheMedianAndTheEnds) {
  const std::vector<double> odd = {5, 1, 3}, even = {8, 1, 2, 4};
  EXPECT_EQ(summary(odd).median, 3);
  EXPECT_EQ(summary(even).median, 3);
  EXPECT_EQ(summary(even).least, 1);
  EXPECT_EQ(summary(even).most, 8);
  EXPECT_DOUBLE_EQ(summary(even).spread(), 7.0 / 3);
}

TEST(Jobs, AreDoneOnceAndInOneOrder) {
  EXPECT_THAT(parse_jobs("train,load,train"), testing::ElementsAre(Job::load, Job::train));
  for (const char* wrong : {"", ",", "prefill,", "prefil", "prefill decode"})
    EXPECT_THROW(parse_jobs(wrong), UsageError) << wrong;
}

// Two of four seconds at a peak of 100, one of them at 200.
JobResult some_result() {
  return {.job = Job::decode,
          .tokens = 8,
          .work = 160,
          .peak = Peak::read,
          .seconds = {4, 2, 2},
          .processor_seconds = {8, 4, 4},
          .peaks = {100, 100, 200},
          .peak_memory_bytes = 5000000};
}

TEST(JobResult, SharesAreOfThePeakMeasuredBeside) {
  EXPECT_EQ(some_result().tokens_per_s(), 4);
  EXPECT_THAT(some_result().shares(), testing::ElementsAre(0.4, 0.8, 0.4));
  EXPECT_EQ(some_result().best_share(), 0.4);
}

BenchReport some_report() {
  BenchReport report;
  report.machine = this_machine();
  report.settings.repeat = 3;
  report.threads = 2;
  report.model = "tiny \"quoted\"";
  report.parameters = 164160;
  report.peaks = {{Peak::int8, {"vpdpbusd", 512}, {1e9}, {2e9}}, {Peak::read, {}, {3e9}, {4e9}}};
  report.jobs = {some_result(), {.job = Job::load, .work = 100, .seconds = {1}, .peaks = {200}}};
  report.jobs.back().processor_seconds = {1};
  return report;
}

TEST(Report, AsJsonHasEveryNumber) {
  const json said = json::parse(bench_json(some_report(), "9.9"));
  EXPECT_EQ(said["cria"], "9.9");
  EXPECT_THAT(said["compiler"].get<std::string>(), HasSubstr("."));
  for (const char* key :
       {"processor", "cores", "isa", "l3_bytes", "available_memory_bytes", "system", "load_before"})
    EXPECT_TRUE(said["machine"].contains(key)) << key;
  EXPECT_EQ(said["model"]["name"], "tiny \"quoted\"");
  EXPECT_EQ(said["settings"]["dtype"], "bf16");
  ASSERT_EQ(said["peaks"].size(), 2);
  EXPECT_EQ(said["peaks"][0]["instruction"], "vpdpbusd");
  EXPECT_EQ(said["peaks"][0]["per_s"][1]["threads"], 2);
  EXPECT_EQ(said["peaks"][0]["per_s"][1]["rate"]["median"], 2e9);
  EXPECT_FALSE(said["peaks"][1].contains("instruction"));
  const json& decode = said["jobs"][0];
  EXPECT_EQ(decode["tokens_per_s"], 4);
  EXPECT_EQ(decode["seconds"]["median"], 2);
  EXPECT_EQ(decode["seconds"]["runs"].size(), 3);
  EXPECT_EQ(decode["processor_seconds"]["most"], 8);
  EXPECT_EQ(decode["unit"], "bytes");
  EXPECT_EQ(decode["work_per_token"], 20);
  EXPECT_EQ(decode["work_per_s"], 80);
  EXPECT_EQ(decode["share_of_peak"]["median"], 0.4);
  EXPECT_EQ(decode["best_share_of_peak"], 0.4);
  EXPECT_EQ(decode["peak_memory_bytes"], 5000000);
  EXPECT_TRUE(said["jobs"][1]["tokens_per_s"].is_null());
  EXPECT_TRUE(said["jobs"][1]["work_per_token"].is_null());
}

TEST(Report, ForPeopleSaysWhoElseWasAtWork) {
  BenchReport report = some_report();
  report.machine.load = 0;
  EXPECT_THAT(bench_text(report, "9.9"), testing::Not(HasSubstr("busy")));
  report.machine.load = report.machine.cores;
  EXPECT_THAT(bench_text(report, "9.9"), HasSubstr("busy"));
  EXPECT_THAT(bench_text(report, "9.9"), HasSubstr("2 threads"));
}

BenchModel tiny() {
  return {.config = named_config("tiny"),
          .name = "tiny",
          .random = true,
          .fill = [](ParamArena& weights, ThreadPool& pool) { init_parameters(weights, 1, pool); }};
}

TEST(Bench, MeasuresEveryJobBesideItsPeakAndCountsItsWork) {
  BenchSettings settings;
  settings.jobs = {Job::prefill, Job::decode, Job::train};
  settings.prompt = 8;
  settings.tokens = 4;
  settings.depth = 10;
  settings.batch = 3;
  settings.repeat = 2;
  settings.dtype = DType::f32;
  const BenchModel model = tiny();
  ThreadPool pool(2);
  int64_t told = 0;
  const BenchReport report = run_bench(settings, &model, pool, [&](std::string_view) { ++told; });
  EXPECT_EQ(told, bench_rounds(settings));
  ASSERT_EQ(report.jobs.size(), 3);
  const int64_t tokens[] = {8, 12, 24};
  // By hand in counts_test.cc; decoding in f32 takes twice the bytes of bf16.
  const double work[] = {1659904, 2 * 1091072, 19067904};
  const Peak peaks[] = {Peak::f32, Peak::read, Peak::f32};
  for (size_t i = 0; i < 3; ++i) {
    const JobResult& j = report.jobs[i];
    SCOPED_TRACE(name_of(j.job));
    EXPECT_EQ(j.job, settings.jobs[i]);
    EXPECT_EQ(j.tokens, tokens[i]);
    EXPECT_EQ(j.work, work[i]);
    EXPECT_EQ(j.peak, peaks[i]);
    for (const auto* values : {&j.seconds, &j.processor_seconds, &j.peaks}) {
      EXPECT_EQ(values->size(), 2);
      for (const double v : *values) EXPECT_GE(v, 0);
    }
    EXPECT_GT(summary(j.seconds).least, 0);
    EXPECT_GT(j.peak_memory_bytes, 4 * 164160);
  }
  EXPECT_EQ(json::parse(bench_json(report, "0"))["jobs"].size(), 3);
}

TEST(Bench, LoadsAsOftenAsAsked) {
  BenchSettings settings;
  settings.jobs = {Job::load};
  settings.repeat = 2;
  BenchModel model = tiny();
  model.stored_bytes = 328320;
  int loads = 0;
  model.fill = [&](ParamArena&, ThreadPool&) { ++loads; };
  ThreadPool pool(1);
  const BenchReport report = run_bench(settings, &model, pool, [](std::string_view) {});
  EXPECT_EQ(loads, 3) << "one to warm up";
  EXPECT_EQ(report.jobs.at(0).work, 328320);
  EXPECT_EQ(report.jobs.at(0).tokens, 0);
}

TEST(BenchCheck, RefusesWhatDoesNotFitBeforeItIsAllocated) {
  BenchSettings settings;
  settings.jobs = {Job::prefill, Job::train};
  const LlamaConfig tiny_shape = named_config("tiny");
  EXPECT_NO_THROW(check_bench(settings, &tiny_shape, 2));
  // 32 times as wide and deep as 70B: no machine of ours has room for 10^14 parameters.
  LlamaConfig huge = named_config("70b");
  huge.hidden_size *= 32;
  huge.intermediate_size *= 32;
  huge.num_hidden_layers = 1024;
  try {
    check_bench(settings, &huge, 2);
    FAIL() << "it fits?";
  } catch (const Error& e) {
    EXPECT_EQ(e.code, ExitCode::memory);
    EXPECT_THAT(e.what(), HasSubstr("try: a smaller --random"));
  }
}

TEST(BenchCheck, RefusesNumbersBeyondTheModelsContext) {
  const LlamaConfig shape = named_config("tiny");
  const auto refused = [&](auto change) {
    BenchSettings settings;
    change(settings);
    EXPECT_THROW(check_bench(settings, &shape, 1), UsageError);
  };
  refused([](BenchSettings& s) { s.prompt = 8193; });
  refused([](BenchSettings& s) { s.prompt = 0; });
  refused([](BenchSettings& s) { s.tokens = 8193; });
  refused([](BenchSettings& s) { s.depth = 8192 - 63; });
  refused([](BenchSettings& s) { s.batch = 0; });
  refused([](BenchSettings& s) { s.repeat = 0; });
  refused([](BenchSettings& s) { s.dtype = DType::f16; });
}

}  // namespace
}  // namespace cria
