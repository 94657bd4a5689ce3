#include "measure/bench.h"

#include <algorithm>
#include <array>
#include <memory>

#include "base/cpu.h"
#include "base/error.h"
#include "base/random.h"
#include "measure/counts.h"
#include "measure/device_peak.h"
#include "measure/timing.h"
#include "plan/host_memory.h"
#include "train/trainer.h"

namespace cria {
namespace {

constexpr uint64_t kSeed = 1;
constexpr std::array kPeaks = {Peak::f32, Peak::bf16, Peak::int8, Peak::read};

/// Any tokens will do, as long as they are not all the same row of the embedding.
std::vector<int32_t> some_tokens(int64_t count, int64_t vocab_size, uint64_t stream) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] =
        static_cast<int32_t>(random_bits(kSeed, stream, i) % static_cast<uint64_t>(vocab_size));
  return ids;
}

/// What limits products with weights of this dtype at the level in use: bf16 is multiplied as f32 where there is no instruction
/// for it. A GPU multiplies a prompt with what blocks stand for, in bf16.
Peak product_peak(DType dtype, const ops::Device* device) {
  if (device != nullptr) return dtype == DType::f32 ? Peak::f32 : Peak::bf16;
  if (is_quantised(dtype)) return Peak::int8;
  return dtype == DType::bf16 && compute_loop(Peak::bf16) ? Peak::bf16 : Peak::f32;
}

/// The whole model, plain or packed.
struct HeldWeights {
  std::optional<ParamArena> plain;
  std::optional<PackedWeights> packed;

  HeldWeights(const BenchSettings& settings, const BenchModel& model, ThreadPool& pool) {
    if (!settings.weights) {
      plain.emplace(model.config, settings.dtype, whole_model(model.config), OptimizerShard(),
                    settings.device);
      model.fill(*plain, pool);
      return;
    }
    std::vector<DType> types;
    for (const Param& p : llama_params(model.config))
      types.push_back(p.is_norm() ? DType::f32 : *settings.weights);
    packed.emplace(model.config, whole_model(model.config), types, settings.device);
    model.fill_packed(*packed, pool);
  }
  [[nodiscard]] Decoder decoder(DType compute, ops::Exec& exec) const {
    if (packed) return {*packed, compute, exec};
    return {plain->config(), *plain, compute, exec};
  }
};

class Bench {
 public:
  Bench(const BenchSettings& settings, const BenchModel* model, ThreadPool& pool,
        const BenchProgress& progress, BenchReport& report)
      : settings_(settings),
        model_(model),
        pool_(pool),
        exec_{.pool = pool, .device = settings.device},
        progress_(progress),
        report_(report) {
    if (settings.device == nullptr) {
      peaks_ = std::make_unique<Peaks>(pool);
    } else {
      peaks_ = std::make_unique<DevicePeaks>(*settings.device, pool);
      free_before_ = settings.device->available();
    }
  }

  /// Of the machine, whether a job needs them or not.
  void measure_peaks();
  void load();
  void prefill(const HeldWeights& weights);
  void decode(const HeldWeights& weights);
  void train();

 private:
  class StepTimes;
  class SomeSamples;

  /// Does `work` once to warm up, then measures the peak and the work in turn.
  template <class Work>
  void alternate(JobResult result, Work work) {
    memory_ = {};
    PeakMemory::forget();
    work();
    wait();
    for (int64_t i = 0; i < settings_.repeat; ++i) {
      result.peaks.push_back(peaks_->rate(result.peak));
      const double before = processor_seconds();
      const Stopwatch watch;
      work();
      wait();
      result.seconds.push_back(watch.seconds());
      result.processor_seconds.push_back(processor_seconds() - before);
      progress_(name_of(result.job));
    }
    finish(std::move(result));
  }
  void finish(JobResult result) {
    memory_.look();
    const int64_t held = settings_.device != nullptr ? free_before_ - settings_.device->available()
                                                     : memory_.bytes() - peaks_->size_bytes();
    result.peak_memory_bytes = std::max<int64_t>(0, held);
    report_.jobs.push_back(std::move(result));
  }
  /// Until a device has done what it was asked for.
  void wait() const {
    if (settings_.device != nullptr) settings_.device->wait();
  }
  /// As generation does after each step.
  void fetch(const Tensor& logits) {
    if (settings_.device == nullptr) return;
    fetched_.resize(logits.size_bytes());
    settings_.device->read(fetched_.data(), logits.bytes().data(), fetched_.size());
  }

  const BenchSettings& settings_;
  const BenchModel* model_;
  ThreadPool& pool_;
  ops::Exec exec_;
  const BenchProgress& progress_;
  BenchReport& report_;
  std::unique_ptr<PeakRates> peaks_;
  PeakMemory memory_;
  int64_t free_before_ = 0;  // of a device
  std::vector<std::byte> fetched_;
};

void Bench::measure_peaks() {
  report_.read_bytes = peaks_->size_bytes();
  const bool many = pool_.threads() > 1 && settings_.device == nullptr;
  for (const Peak peak : kPeaks) {
    const auto method = peaks_->method(peak);
    if (method) {
      PeakResult result{.peak = peak, .method = *method};
      for (int64_t i = 0; i < settings_.repeat; ++i) {
        result.one.push_back(peaks_->rate_of_one(peak));
        result.all.push_back(many ? peaks_->rate(peak) : result.one.back());
      }
      report_.peaks.push_back(std::move(result));
    }
    progress_(name_of(peak));
  }
}

void Bench::load() {
  alternate(
      {.job = Job::load, .work = static_cast<double>(model_->stored_bytes), .peak = Peak::read},
      [&] {
        const HeldWeights weights(settings_, *model_, pool_);
        memory_.files_were_unmapped();
        memory_.look();
      });
}

void Bench::prefill(const HeldWeights& weights) {
  const LlamaConfig& config = model_->config;
  const std::vector<int32_t> ids = some_tokens(settings_.prompt, config.vocab_size, 1);
  Decoder decoder = weights.decoder(settings_.dtype, exec_);
  KvCache cache(config, settings_.cache_type(), settings_.device);
  Tensor logits(DType::f32, 1, config.vocab_size, settings_.device);
  alternate(
      {.job = Job::prefill,
       .tokens = settings_.prompt,
       .work = prefill_flops(config, settings_.prompt),
       .peak = product_peak(settings_.device != nullptr ? settings_.dtype : settings_.weight_type(),
                            settings_.device)},
      [&] {
        cache.truncate(0);
        decoder.prefill(ids, cache, logits);
        fetch(logits);
      });
}

void Bench::decode(const HeldWeights& weights) {
  const LlamaConfig& config = model_->config;
  const auto sequences = static_cast<size_t>(settings_.batch);
  Decoder decoder = weights.decoder(settings_.dtype, exec_);
  std::vector<KvCache> caches;
  for (size_t i = 0; i < sequences; ++i)
    caches.emplace_back(config, settings_.cache_type(), settings_.device);
  std::vector<KvCache*> each;
  for (KvCache& cache : caches) each.push_back(&cache);
  if (settings_.depth > 0) {
    const std::vector<int32_t> ids = some_tokens(settings_.depth, config.vocab_size, 2);
    for (KvCache& cache : caches) decoder.prefill(ids, cache, View());
  }
  const std::vector<int32_t> ids =
      some_tokens(settings_.batch * settings_.tokens, config.vocab_size, 3);
  Tensor logits(DType::f32, settings_.batch, config.vocab_size, settings_.device);
  alternate({.job = Job::decode,
             .tokens = settings_.batch * settings_.tokens,
             .work = decode_bytes(config, settings_.weight_type(), settings_.cache_type(),
                                  settings_.batch, settings_.depth, settings_.tokens),
             .peak = Peak::read},
            [&] {
              for (KvCache& cache : caches) cache.truncate(settings_.depth);
              for (size_t step = 0; step < ids.size(); step += sequences) {
                decoder.step(std::span(ids).subspan(step, sequences), each, logits);
                fetch(logits);
              }
            });
}

/// An endless data set in which every token is trained.
class Bench::SomeSamples : public SampleSource {
 public:
  SomeSamples(const BenchSettings& settings, int64_t vocab_size)
      : settings_(settings), vocab_size_(vocab_size) {}
  [[nodiscard]] int64_t samples_per_epoch() const override {
    return settings_.batch * (settings_.repeat + 1);
  }
  void fill(int64_t /*epoch*/, int64_t position, int64_t count, Samples& out) override {
    out.clear();
    for (int64_t i = 0; i < count; ++i) {
      const auto ids =
          some_tokens(settings_.prompt + 1, vocab_size_, static_cast<uint64_t>(4 + position + i));
      out.add(std::span(ids).first(ids.size() - 1), std::span(ids).last(ids.size() - 1));
    }
  }
  [[nodiscard]] std::string fingerprint() const override { return "bench"; }

 private:
  const BenchSettings& settings_;
  int64_t vocab_size_;
};

/// Keeps each step's time but the first, which allocates, and measures the peak before the next step. On a device a step is over when
/// its update is.
class Bench::StepTimes : public Reporter {
 public:
  StepTimes(Bench& bench, JobResult& result) : bench_(bench), result_(result) {}
  void step(const StepReport& step) override {
    bench_.wait();
    if (step.batch > 1) {
      result_.processor_seconds.push_back(processor_seconds() - before_);
      result_.seconds.push_back(bench_.settings_.device != nullptr ? watch_.seconds()
                                                                   : step.seconds);
      bench_.progress_(name_of(Job::train));
    }
    if (step.batch > bench_.settings_.repeat) return;
    result_.peaks.push_back(bench_.peaks_->rate(result_.peak));
    before_ = processor_seconds();
    watch_ = Stopwatch();
  }

 private:
  Bench& bench_;
  JobResult& result_;
  double before_ = 0;
  Stopwatch watch_;
};

void Bench::train() {
  const LlamaConfig& config = model_->config;
  TrainState state(config, settings_.storage, true, whole_model(config), {}, settings_.device);
  model_->fill(state.weights, pool_);
  state.start(exec_);
  memory_ = {};
  PeakMemory::forget();
  TrainSettings settings;
  settings.batch_size = settings_.batch;
  settings.compute = settings_.dtype;
  settings.recompute = settings_.recompute ? Recompute::full : Recompute::none;
  settings.schedule.lr = 1e-6;  // small, so that random weights stay finite
  settings.schedule.total_steps = settings_.repeat + 1;
  settings.save_at_end = false;
  settings.check_replicas_every = 0;
  SomeSamples samples(settings_, config.vocab_size);
  JobResult result{.job = Job::train,
                   .tokens = settings_.batch * settings_.prompt,
                   .work = training_flops(config, settings_.batch, settings_.prompt),
                   .peak = product_peak(settings_.dtype, settings_.device)};
  StepTimes times(*this, result);
  if (Trainer(config, state, settings, samples, exec_, times).run().stopped_by_signal)
    throw Error(ExitCode::stopped, "bench: stopped by a signal; nothing is reported");
  finish(std::move(result));
}

constexpr std::array kJobs = {Job::peaks, Job::load, Job::prefill, Job::decode, Job::train};

}  // namespace

std::string_view name_of(Job job) {
  constexpr std::array<std::string_view, kJobs.size()> kNames = {"peaks", "load", "prefill",
                                                                 "decode", "train"};
  return kNames[static_cast<size_t>(job)];
}

std::vector<Job> parse_jobs(std::string_view text) {
  std::vector<Job> jobs;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    const auto* const job = std::ranges::find(kJobs, word, [](Job j) { return name_of(j); });
    require(job != kJobs.end(),
            "bench: --what has \"{}\", expected peaks, load, prefill, decode or train, separated "
            "by commas",
            escaped(word));
    jobs.push_back(*job);
    at = end + 1;
  }
  std::ranges::sort(jobs);
  jobs.erase(std::ranges::unique(jobs).begin(), jobs.end());
  return jobs;
}

double JobResult::tokens_per_s() const {
  return static_cast<double>(tokens) / summary(seconds).median;
}

std::vector<double> JobResult::shares() const {
  std::vector<double> shares;
  for (size_t i = 0; i < seconds.size(); ++i) shares.push_back(work / seconds[i] / peaks[i]);
  return shares;
}

double JobResult::best_share() const { return work / summary(seconds).least / summary(peaks).most; }

int64_t bench_rounds(const BenchSettings& s) {
  const auto measured = std::ranges::count_if(s.jobs, [](Job j) { return j != Job::peaks; });
  return std::ssize(kPeaks) + measured * s.repeat;
}

BenchReport run_bench(const BenchSettings& settings, const BenchModel* model, ThreadPool& pool,
                      const BenchProgress& progress) {
  BenchReport report;
  report.machine = this_machine();
  report.settings = settings;
  report.threads = pool.threads();
  if (settings.device != nullptr) report.device = settings.device->name();
  Bench bench(settings, model, pool, progress, report);
  bench.measure_peaks();
  const auto wanted = [&](Job job) { return std::ranges::count(settings.jobs, job) > 0; };
  if (model == nullptr) return report;
  report.model = model->name;
  report.random = model->random;
  report.parameters = count_parameters(model->config);
  if (wanted(Job::load)) bench.load();
  if (wanted(Job::prefill) || wanted(Job::decode)) {
    const HeldWeights weights(settings, *model, pool);
    if (wanted(Job::prefill)) bench.prefill(weights);
    if (wanted(Job::decode)) bench.decode(weights);
  }
  if (wanted(Job::train)) bench.train();
  return report;
}

}  // namespace cria
