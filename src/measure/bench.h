// `cria bench`: how fast this program does its jobs here, each beside the peak that limits it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "measure/machine.h"
#include "measure/peak.h"
#include "model/packed_weights.h"
#include "model/params.h"
#include "ops/device.h"

namespace cria {

/// peaks alone needs no model.
enum class Job { peaks, load, prefill, decode, train };
std::string_view name_of(Job job);
/// "prefill,decode": each job once, in the order above. Throws UsageError listing them.
std::vector<Job> parse_jobs(std::string_view text);

struct BenchSettings {
  std::vector<Job> jobs;
  int64_t prompt = 512;  // tokens of a prompt, and of a training sample
  int64_t tokens = 64;   // decode steps
  int64_t depth = 0;     // tokens that a sequence holds before its first decode step
  int64_t batch = 1;     // sequences of a decode step, samples of a training step
  int64_t repeat = 5;
  DType dtype = DType::bf16;  // f32 or bf16: of computing, and of weights but in training (storage)
  /// All matrices packed in this type, for load, prefill and decode.
  std::optional<DType> weights;
  /// Of keys and values; i8: rows of 8 bits. By default bf16 beside packed weights, else dtype.
  std::optional<DType> cache;

  /// Of weights in training: f32, or bf16 with what an exact f32 master has more.
  DType storage = DType::f32;
  bool recompute = false;         // in training, everything but a layer's input
  ops::Device* device = nullptr;  // where the jobs run and peaks are measured; null: the processor

  [[nodiscard]] DType weight_type() const { return weights.value_or(dtype); }
  [[nodiscard]] DType cache_type() const { return cache.value_or(weights ? DType::bf16 : dtype); }
};
/// Throws UsageError where a number makes no sense, or Error(memory) where a job does not fit, before anything is allocated.
/// Without a model, only what peaks need is checked.
void check_bench(const BenchSettings& settings, const LlamaConfig* config, int threads);
/// How often run_bench() tells that something is done.
int64_t bench_rounds(const BenchSettings& settings);

/// The model to measure with.
struct BenchModel {
  LlamaConfig config;
  std::string name;
  bool random = false;
  int64_t stored_bytes = 0;  // of the weights in their files; 0 where they are made
  /// Fills an arena of the whole model, of any float dtype.
  std::function<void(ParamArena& weights, ThreadPool& pool)> fill;
  std::function<void(PackedWeights& weights, ThreadPool& pool)> fill_packed;
};

/// One job, `repeat` times. The peak that limits it was measured before each time.
struct JobResult {
  Job job = Job::peaks;
  int64_t tokens = 0;  // of one time; 0 where there are none
  double work = 0;     // operations or bytes of one time, by measure/counts.h
  Peak peak = Peak::read;
  std::vector<double> seconds;            // wall
  std::vector<double> processor_seconds;  // of all threads
  std::vector<double> peaks;              // operations or bytes a second, all threads
  /// The most that the process held meanwhile, without pages of mapped files and without what reads memory for its peak. On a
  /// device: what is allocated there at the end, weights included.
  int64_t peak_memory_bytes = 0;

  [[nodiscard]] double tokens_per_s() const;  // median
  /// Of the peak beside it, each time: the machine's own ups and downs mostly cancel.
  [[nodiscard]] std::vector<double> shares() const;
  /// The fastest time at the highest peak.
  [[nodiscard]] double best_share() const;
};

struct PeakResult {
  Peak peak = Peak::read;
  PeakMethod method;
  std::vector<double> one, all;  // a second, with one thread and with all
};

struct BenchReport {
  Machine machine;
  BenchSettings settings;
  std::string device;  // empty: the processor
  int threads = 1;
  std::string model;  // empty: only peaks
  bool random = false;
  int64_t parameters = 0;
  int64_t read_bytes = 0;  // of the memory read for the peak
  std::vector<PeakResult> peaks;
  std::vector<JobResult> jobs;
};

/// Called after each time a job was done.
using BenchProgress = std::function<void(std::string_view what)>;

/// Measures peaks first, then the jobs in their order. `model` may be null when peaks are all that is asked. Throws
/// Error(stopped) when a signal asks to stop while training.
BenchReport run_bench(const BenchSettings& settings, const BenchModel* model, ThreadPool& pool,
                      const BenchProgress& progress);

/// Tables for people.
std::string bench_text(const BenchReport& report, std::string_view version);
/// One JSON document: the same numbers and every single time.
std::string bench_json(const BenchReport& report, std::string_view version);

}  // namespace cria
