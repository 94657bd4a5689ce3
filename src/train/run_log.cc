#include "train/run_log.h"

#include <fmt/core.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace cria {

RunLog::RunLog(std::string folder) : folder_(std::move(folder)) {}

void RunLog::begin(const RunReport& run) {
  first_step_ = run.first_step;
  const std::string path = join_path(folder_, "metrics.jsonl");
  metrics_.reset(std::fopen(path.c_str(), run.first_step > 0 ? "a" : "w"));
  if (!metrics_)
    throw IoError(describe({.what = "write", .path = path, .reason = std::strerror(errno)}));
}

void RunLog::step(const StepReport& s) {
  losses_.push_back(s.loss);
  // JSON knows neither NaN nor infinity.
  const auto number = [](double x) {
    return std::isfinite(x) ? fmt::format("{:.7g}", x) : std::string("null");
  };
  const double seconds = std::max(s.seconds, 1e-9);
  fmt::print(metrics_.get(),
             "{{\"step\":{},\"epoch\":{},\"loss\":{},\"lr\":{},\"grad_norm\":{},\"loss_scale\":{},"
             "\"skipped\":{},\"seconds\":{:.4f},"
             "\"tokens_per_s\":{:.1f},\"trained_tokens_per_s\":{:.1f},\"tflops\":{:.4f}}}\n",
             s.batch, s.epoch, number(s.loss), number(s.lr), number(s.grad_norm),
             number(s.loss_scale), s.overflow ? "true" : "false", s.seconds,
             static_cast<double>(s.tokens) / seconds,
             static_cast<double>(s.trained_tokens) / seconds, s.flops / seconds * 1e-12);
  std::fflush(metrics_.get());
}

void RunLog::end(double /*seconds*/) {
  if (!losses_.empty())
    write_file(join_path(folder_, "loss.svg"), loss_plot_svg(losses_, first_step_));
}

}  // namespace cria
