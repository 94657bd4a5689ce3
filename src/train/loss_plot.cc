// The loss curve as a picture that any browser shows: no scripts, no fonts to fetch.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "train/run_log.h"

namespace cria {
namespace {

constexpr double kWidth = 720, kHeight = 400, kLeft = 64, kRight = 24, kTop = 40, kBottom = 52;

// A round distance between marks (1, 2 or 5 times a power of ten) that gives about `marks` of them.
double mark_distance(double range, int marks) {
  const double raw = range / marks;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (raw <= step * power) return step * power;
  }
  return 10 * power;
}

}  // namespace

std::string loss_plot_svg(const std::vector<double>& losses, int64_t first_step) {
  double high = 0;
  for (const double l : losses) {
    if (std::isfinite(l)) high = std::max(high, l);
  }
  if (high <= 0) high = 1;
  const double y_mark = mark_distance(high, 6);
  high = std::ceil(high / y_mark) * y_mark;
  const auto n = static_cast<int64_t>(losses.size());
  const double span = static_cast<double>(std::max<int64_t>(1, n - 1));
  const auto x = [&](double i) { return kLeft + i / span * (kWidth - kLeft - kRight); };
  const auto y = [&](double loss) { return kTop + (1 - loss / high) * (kHeight - kTop - kBottom); };

  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\" font-family=\"sans-serif\" font-size=\"13\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fffdf8\"/>\n"
      "<text x=\"{2}\" y=\"24\" font-size=\"16\" fill=\"#333\">training loss</text>\n",
      kWidth, kHeight, kLeft);
  for (double mark = 0; mark <= high * 1.0001; mark += y_mark) {
    svg += fmt::format(
        "<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#e4ddd0\"/><text x=\"{}\" "
        "y=\"{:.1f}\" text-anchor=\"end\" fill=\"#666\">{:g}</text>\n",
        kLeft, kWidth - kRight, y(mark), y(mark), kLeft - 8, y(mark) + 4, mark);
  }
  const auto x_mark =
      std::max<int64_t>(1, static_cast<int64_t>(std::llround(mark_distance(span, 8))));
  for (int64_t step = (first_step + x_mark) / x_mark * x_mark; step <= first_step + n;
       step += x_mark) {
    svg +=
        fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{}</text>\n",
                    x(static_cast<double>(step - first_step - 1)), kHeight - kBottom + 20, step);
  }
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">step</text>\n",
                     (kLeft + kWidth - kRight) / 2, kHeight - 10);
  std::string line;
  const auto flush = [&] {
    if (!line.empty())
      svg += fmt::format(
          "<polyline fill=\"none\" stroke=\"#b4532a\" stroke-width=\"2\" points=\"{}\"/>\n", line);
    line.clear();
  };
  for (int64_t i = 0; i < n; ++i) {
    const double loss = losses[static_cast<size_t>(i)];
    if (std::isfinite(loss)) {
      line += fmt::format("{:.1f},{:.1f} ", x(static_cast<double>(i)), y(loss));
    } else {
      flush();
    }
  }
  flush();
  return svg + "</svg>\n";
}

}  // namespace cria
