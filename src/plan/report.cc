#include "plan/report.h"

#include <algorithm>

#include "base/error.h"

namespace cria {
namespace {

constexpr size_t kShownLayouts = 8;

double gib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }
double mib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

/// 8030261248 as 8,030,261,248.
std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = std::ssize(digits) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string plural(int64_t count, std::string_view thing) {
  return fmt::format("{} {}{}", grouped(count), thing,
                     count == 1                 ? ""
                     : thing.ends_with("batch") ? "es"
                                                : "s");
}

std::string recompute_text(const TrainingRun& run) {
  const int64_t layers = run.config.num_hidden_layers;
  const std::vector<Recompute> of = RankShare(run, 0).recompute.of_run(0, layers);
  const auto full = std::ranges::count(of, Recompute::full);
  const auto gate_up = std::ranges::count(of, Recompute::gate_up);
  if (full == layers) return "all layers computed again";
  if (full + gate_up == 0) return "nothing computed again";
  return fmt::format("computed again: {} layers, of {} gate and up", full, gate_up);
}

std::string run_text(const TrainingRun& run) {
  const RankGrid& g = run.grid;
  const bool exact = run.master_weights && run.storage != DType::f32;
  std::string text =
      fmt::format("{} parameters in {}{}, computed in {}\n", grouped(count_parameters(run.config)),
                  name_of(run.storage), exact ? " with an exact master" : "", name_of(run.compute));
  text += fmt::format("{} of {} tokens a step: batch_size {} x {} x data_parallel {}; {}\n",
                      plural(run.global_batch(), "sample"), grouped(run.seq_length), run.batch_size,
                      plural(run.micro_batches, "micro batch"), g.dp, recompute_text(run));
  text += fmt::format("{}: data_parallel {}, model_parallel {}, pipeline_stage {}",
                      plural(run.ranks(), "rank"), g.dp, g.tp, g.pp);
  if (run.optimizer_shard && g.dp > 1) {
    text += ", optimizer state sharded";
    if (g.shard_size() < g.dp) text += fmt::format(" over groups of {}", g.shard_size());
    if (run.zero > 1) text += fmt::format(" (ZeRO-{})", run.zero);
  }
  if (run.sequence_parallel && g.tp > 1) text += ", sequence parallel";
  if (RankShare(run, 0).part.vocab_split) text += ", vocabulary split";
  return text + "\n";
}

std::string memory_text(const RankMemory& memory) {
  std::string text = fmt::format("\nmemory of rank {}, the fullest{:>{}}\n", memory.rank, "GiB",
                                 20 - static_cast<int>(std::to_string(memory.rank).size()));
  for (const MemoryItem& i : memory.items)
    text += fmt::format("  {:<36}{:>12.3f}\n", i.name, gib(i.bytes));
  return text + fmt::format("  {:<36}{:>12.3f}\n", "together", gib(memory.total()));
}

std::string traffic_text(const StepTraffic& traffic, int rank) {
  if (traffic.sent.empty()) return "";
  std::string text = fmt::format("\nrank {} sends in a step{:>{}}\n", rank, "MiB",
                                 28 - static_cast<int>(std::to_string(rank).size()));
  for (const Traffic& t : traffic.sent)
    text +=
        fmt::format("  {:<36}{:>12.3f}\n", fmt::format("{}: {}", t.group, t.purpose), mib(t.bytes));
  return text + fmt::format("  {:<36}{:>12.3f}\n", "together", mib(traffic.total()));
}

std::string layouts_text(const PlanReport& report) {
  if (report.layouts.size() < 2) return "";
  std::string text =
      fmt::format("\n{:>5}{:>5}{:>5}{:>12}{:>14}{:>10}{:>11}{:>9}{:>7}\n", "dp", "tp", "pp",
                  "batch_size", "micro batches", "GiB", "sends GiB", "waiting", "time");
  for (size_t i = 0; i < std::min(kShownLayouts, report.layouts.size()); ++i) {
    const Layout& l = report.layouts[i];
    const RankGrid& g = l.run.grid;
    text += fmt::format("{:>5}{:>5}{:>5}{:>12}{:>14}{:>10.2f}{:>11.2f}{:>8.1f}%{:>7.2f}{}\n", g.dp,
                        g.tp, g.pp, l.run.batch_size, l.run.micro_batches, gib(l.memory.total()),
                        gib(l.sent_bytes), 100 * l.bubble, l.time / report.layouts[0].time,
                        fits(l.memory.total(), report.available) ? "" : "  too large");
  }
  if (report.layouts.size() > kShownLayouts)
    text += fmt::format("  and {} more\n", report.layouts.size() - kShownLayouts);
  return text;
}

std::string advice(const TrainingRun& run, int64_t available) {
  const auto change = cheapest_change(run, available);
  if (!change) return "a smaller model; no change of settings or ranks helps";
  return fmt::format("{} ({:.2f} GiB)", change->text, gib(change->memory.total()));
}

}  // namespace

std::string check_memory(std::vector<MemoryItem> items, int64_t available,
                         const std::function<std::string()>& hint) {
  std::ranges::stable_sort(items, std::ranges::greater(), &MemoryItem::bytes);
  int64_t total = 0;
  std::string list;
  for (size_t i = 0; i < items.size(); ++i) {
    total += items[i].bytes;
    if (i < 3)
      list += fmt::format("{}{} {:.2f}", i == 0 ? "" : ", ", items[i].name, gib(items[i].bytes));
  }
  if (!fits(total, available)) {
    throw Error(ExitCode::memory,
                fmt::format("memory: this run needs about {:.2f} GiB and {:.2f} are available; the "
                            "largest items in GiB: {}; try: {}",
                            gib(total), gib(available), list, hint()));
  }
  return fmt::format("Memory estimate: {:.2f} GiB of {:.2f} GiB available ({})", gib(total),
                     gib(available), list);
}

std::string check_training_memory(const TrainingRun& run, int rank, int64_t available) {
  return check_memory(rank_memory(run, rank).items, available,
                      [&] { return advice(run, available); });
}

std::string peak_text(int64_t planned, int64_t peak) {
  return fmt::format("Memory of this rank: planned {:.1f} MiB, at its peak {:.1f} MiB ({:+.1f} %)",
                     mib(planned), mib(peak),
                     100 * (static_cast<double>(planned) / static_cast<double>(peak) - 1));
}

std::string plan_text(const PlanReport& report) {
  const RankMemory memory = fullest_rank(report.run);
  return run_text(report.run) + memory_text(memory) +
         traffic_text(step_traffic(report.run, memory.rank), memory.rank) + layouts_text(report);
}

std::string plan_verdict(const PlanReport& report) {
  const int64_t bytes = fullest_rank(report.run).total();
  if (report.available <= 0) return fmt::format("needs {:.2f} GiB on a rank", gib(bytes));
  const std::string numbers =
      fmt::format("{:.2f} of {:.2f} GiB on the fullest rank", gib(bytes), gib(report.available));
  if (!fits(bytes, report.available)) {
    throw Error(ExitCode::memory, fmt::format("plan: does not fit: {}; try: {}", numbers,
                                              advice(report.run, report.available)));
  }
  return fmt::format("fits: {} ({:.0f} %)", numbers,
                     100 * static_cast<double>(bytes) / static_cast<double>(report.available));
}

}  // namespace cria
