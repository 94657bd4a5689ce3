// A run's numbers on disk: metrics.jsonl line by line while it runs, and a plot of the loss at its end.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "train/reporter.h"

namespace cria {

/// Writes into an existing folder:
///   metrics.jsonl  one object per step: step, epoch, loss, lr, grad_norm, loss_scale, skipped, seconds, tokens_per_s (every
///                  position), trained_tokens_per_s, tflops; appended to when a run is resumed
///   loss.svg       the loss over steps, drawn when the run ends (docs/training.md)
class RunLog : public Reporter {
 public:
  explicit RunLog(std::string folder);
  void begin(const RunReport& run) override;
  void step(const StepReport& step) override;
  void end(double seconds) override;

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string folder_;
  std::unique_ptr<std::FILE, Close> metrics_;
  std::vector<double> losses_;
  int64_t first_step_ = 0;
};

/// Passes everything on to several reporters, in order.
class Reporters : public Reporter {
 public:
  explicit Reporters(std::vector<Reporter*> all) : all_(std::move(all)) {}
  void begin(const RunReport& run) override {
    for (Reporter* r : all_) r->begin(run);
  }
  void step(const StepReport& step) override {
    for (Reporter* r : all_) r->step(step);
  }
  void saving(int64_t step) override {
    for (Reporter* r : all_) r->saving(step);
  }
  void saved(const std::string& folder) override {
    for (Reporter* r : all_) r->saved(folder);
  }
  void end(double seconds) override {
    for (Reporter* r : all_) r->end(seconds);
  }

 private:
  std::vector<Reporter*> all_;
};

/// A self-contained SVG line chart: values over steps first_step + 1, ...; values that are not finite leave a gap.
std::string loss_plot_svg(const std::vector<double>& losses, int64_t first_step);

}  // namespace cria
