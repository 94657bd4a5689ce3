// A measurement in tables for people.
#include <fmt/core.h>

#include "measure/bench.h"
#include "measure/timing.h"

namespace cria {
namespace {

constexpr double kGiga = 1e9, kMega = 1e6;

// Above this part of the cores, others took a share of the machine that shows.
constexpr double kBusyShare = 0.25;

std::string head_text(const BenchReport& r, std::string_view version) {
  const Machine& m = r.machine;
  std::string text = r.device.empty() ? "" : fmt::format("on a GPU: {}\n", r.device);
  text += fmt::format("{}, {} core{}, level {}, {}\ncria {}, {}, {}\n", m.processor, m.cores,
                      m.cores == 1 ? "" : "s", m.isa, m.system, version, m.compiler, m.date);
  if (!r.model.empty()) {
    text += fmt::format(
        "{}{}: {:.1f} M parameters, {}{}{}\n", r.model, r.random ? " with random weights" : "",
        static_cast<double>(r.parameters) / kMega, r.settings.dtype == DType::f32 ? "fp32" : "bf16",
        r.settings.weights ? fmt::format(", weights {}", name_of(*r.settings.weights)) : "",
        r.settings.cache_type() == DType::i8 ? ", cache int8" : "");
  }
  text += fmt::format("{} thread{}, {} repeat{}: medians\n", r.threads, r.threads == 1 ? "" : "s",
                      r.settings.repeat, r.settings.repeat == 1 ? "" : "s");
  if (m.load > kBusyShare * m.cores)
    text += fmt::format(
        "other programs kept this machine busy (load {:.1f}); no figure below is its best\n",
        m.load);
  return text;
}

std::string peaks_text(const BenchReport& r) {
  const bool threads = r.threads > 1 && r.device.empty();
  std::string text = fmt::format("\n{:<20}{:>12}", "peak", r.device.empty() ? "1 thread" : "rate");
  if (threads) text += fmt::format("{:>12}", fmt::format("{} threads", r.threads));
  text += "\n";
  for (const PeakResult& p : r.peaks) {
    text += fmt::format("{:<20}{:>12.1f}", name_of(p.peak), summary(p.one).median / kGiga);
    if (threads) text += fmt::format("{:>12.1f}", summary(p.all).median / kGiga);
    const std::string how =
        p.peak == Peak::read
            ? fmt::format("{}{} MiB", r.device.empty() ? "" : "copying ", r.read_bytes >> 20)
        : p.method.bits == 0 ? p.method.instruction
                             : fmt::format("{}, {} bits", p.method.instruction, p.method.bits);
    text += fmt::format("  {:<8}  {}\n", fmt::format("{}/s", unit_of(p.peak)), how);
  }
  return text;
}

std::string job_text(const BenchSettings& s, Job job) {
  switch (job) {
    case Job::prefill:
      return fmt::format("prefill {}", s.prompt);
    case Job::decode:
      return fmt::format("decode {}{}{}", s.tokens,
                         s.batch > 1 ? fmt::format(" x {}", s.batch) : std::string(),
                         s.depth > 0 ? fmt::format(" after {}", s.depth) : std::string());
    case Job::train:
      return fmt::format("train {} x {}", s.batch, s.prompt);
    default:
      return std::string(name_of(job));
  }
}

std::string row_text(const BenchSettings& s, const JobResult& j) {
  const Summary seconds = summary(j.seconds);
  const bool tokens = j.tokens > 0;
  const auto unit = unit_of(j.peak);
  const std::string each =
      tokens ? fmt::format("{:.3f} {}", j.work / static_cast<double>(j.tokens) / kGiga, unit) : "";
  const std::string reached = fmt::format("{:.1f} {}/s", j.work / seconds.median / kGiga, unit);
  return fmt::format("{:<20}{:>10}{:>10.4f}{:>10.4f}{:>8}{:>14}{:>16}{:>7}{:>7}{:>12}\n",
                     job_text(s, j.job), tokens ? fmt::format("{:.1f}", j.tokens_per_s()) : "-",
                     seconds.median, seconds.least, fmt::format("{:.0f} %", 100 * seconds.spread()),
                     each, reached, fmt::format("{:.0f} %", 100 * summary(j.shares()).median),
                     fmt::format("{:.0f} %", 100 * j.best_share()),
                     fmt::format("{:.0f} MB", static_cast<double>(j.peak_memory_bytes) / kMega));
}

}  // namespace

std::string bench_text(const BenchReport& r, std::string_view version) {
  std::string text = head_text(r, version) + peaks_text(r);
  if (r.jobs.empty()) return text;
  text += fmt::format("\n{:<20}{:>10}{:>10}{:>10}{:>8}{:>14}{:>16}{:>7}{:>7}{:>12}\n", "job",
                      "tokens/s", "s", "best s", "spread", "a token", "reached", "share", "best",
                      "memory");
  for (const JobResult& j : r.jobs) text += row_text(r.settings, j);
  return text +
         "share: of the peak measured just before each repeat, on the same threads; best: the "
         "fastest repeat at the highest of\n"
         "these peaks; spread: from fastest to slowest, of the median\n";
}

}  // namespace cria
