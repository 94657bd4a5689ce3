#include "recipe/log.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "recipe/python_repr.h"

namespace cria::recipe {
namespace {

constexpr uintmax_t kMaxLogBytes = 50 << 20;
constexpr int kOldLogs = 5;

std::string time_text() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch());
  std::tm local = {};
  localtime_r(&seconds, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
  return fmt::format("{},{:03}", text, ms.count() % 1000);
}

void rotate(const std::string& path) {
  std::error_code none;
  if (std::filesystem::file_size(path, none) < kMaxLogBytes || none) return;
  for (int i = kOldLogs; i > 0; --i) {
    const std::string from = i == 1 ? path : fmt::format("{}.{}", path, i - 1);
    std::filesystem::rename(from, fmt::format("{}.{}", path, i), none);
  }
}

}  // namespace

RecipeLog::RecipeLog(const std::string& folder) : folder_(folder) {}

void RecipeLog::keep() {
  if (folder_.empty() || file_ != nullptr) return;
  make_folders(folder_);
  const std::string path = join_path(folder_, "info.log");
  rotate(path);
  file_ = std::fopen(path.c_str(), "ae");
  require<IoError>(file_ != nullptr, "log: {}: cannot be opened for writing", path);
  fmt::print(file_, "{}", std::exchange(lines_, {}));
  std::fflush(file_);
}
RecipeLog::~RecipeLog() {
  if (file_ != nullptr) std::fclose(file_);
}

void RecipeLog::info(const std::string& text, const std::source_location& where) {
  const std::string time = time_text();
  const std::string place = fmt::format("{}:{}", base_name(where.file_name()), where.line());
  fmt::print("{} - mindformers[{}] - INFO - {}\n", time, place, text);
  std::fflush(stdout);
  if (folder_.empty()) return;
  // The function's bare name, as Python has it.
  std::string function = where.function_name();
  function = function.substr(0, function.find('('));
  function = function.substr(function.find_last_of(": ") + 1);
  const std::string line = fmt::format("[INFO] {} [{}] {}: {}\n", time, place, function, text);
  if (file_ == nullptr) {
    lines_ += line;
    return;
  }
  fmt::print(file_, "{}", line);
  std::fflush(file_);
}

std::string step_line(const StepLine& s, bool sink_mode) {
  const std::string loss = sink_mode ? fmt::format("loss: {:5.3f}", s.loss)
                                     : fmt::format("loss:[{:5.3f}/{:5.3f}]", s.loss, s.mean_loss);
  std::string line = fmt::format(
      "{{ Epoch:[{:3}/{:3}], step:[{:5}/{:5}], {}, per_step_time: {}ms, lr: {}, overflow cond: {}, "
      "loss_scale: {}, global_norm: {}",
      s.epoch, s.epochs, s.step, s.steps, loss, static_cast<int64_t>(s.seconds_per_step * 1000),
      numpy_float32(s.lr), s.overflow ? "True" : "False", numpy_float32(s.loss_scale),
      numpy_float32(s.grad_norm));
  if (s.tflops > 0) line += fmt::format(", train_throughput_per_npu: {:.3f}T", s.tflops);
  return line;
}

std::string bar_line(double share_done, double samples_per_second, double seconds_left) {
  const auto cells = static_cast<int64_t>(std::clamp(share_done, 0.0, 1.0) * 50);
  std::string bar;
  for (int64_t i = 0; i < 50; ++i) bar += i < cells ? "█" : " ";
  return fmt::format("  {:4.1f}% |{}| {:.5f} samples/s/p  {} }}", share_done * 100, bar,
                     samples_per_second, time_left(seconds_left));
}

std::string time_left(double seconds) {
  const auto s = static_cast<int64_t>(std::clamp(seconds, 0.0, 1e12));
  const int64_t days = s / 86400;
  std::string clock = fmt::format("{}:{:02}:{:02}", s % 86400 / 3600, s % 3600 / 60, s % 60);
  if (days == 0) return clock;
  return fmt::format("{} day{}, {}", days, days == 1 ? "" : "s", clock);
}

}  // namespace cria::recipe
