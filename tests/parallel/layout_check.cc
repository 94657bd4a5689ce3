#include "parallel/layout_check.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace cria::test {
namespace {

/// The simplest run that a layout must agree with.
Layout reference_of(const Layout& l) {
  // Without a pipeline, dp ranks are micro batches of one rank.
  if (l.micros == 1)
    return {.chunks = l.chunks,
            .micros = l.dp,
            .tied = l.tied,
            .vocab_size = l.vocab_size,
            .small = l.small};
  // Gradients that are summed after every micro batch are added in an order of their own.
  const int zero = l.pp > 1 && l.zero >= 2 ? 2 : 0;
  return {.dp = l.dp,
          .zero = zero,
          .chunks = l.chunks,
          .micros = l.micros,
          .tied = l.tied,
          .vocab_size = l.vocab_size,
          .small = l.small};
}
bool equal_bits(const Layout& l) {
  return l.tp == 1 && !(l.zero >= 2 && l.micros > 1 && l.pp == 1);
}

double relative_distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

/// Nothing when the two agree as they must.
std::string compare(const Outcome& now, const Outcome& reference, bool bitwise) {
  for (size_t s = 0; s < reference.losses.size(); ++s) {
    if (s >= now.losses.size()) break;  // faulty runs report none
    const double a = now.losses[s], b = reference.losses[s];
    if (bitwise ? a != b || now.norms[s] != reference.norms[s]
                : !(std::abs(a - b) <= 1e-6 * std::abs(b)))
      return fmt::format("step {}: loss {:.9f} norm {:.9f}, expected {:.9f} {:.9f}", s, a,
                         now.norms[s], b, reference.norms[s]);
  }
  for (const auto& [name, expected] : reference.weights) {
    const auto it = now.weights.find(name);
    if (it == now.weights.end() || it->second.size() != expected.size())
      return name + " is missing";
    const std::vector<float>& w = it->second;
    if (bitwise ? std::memcmp(w.data(), expected.data(), w.size() * sizeof(float)) != 0
                : !(relative_distance(w, expected) <= 1e-4))
      return fmt::format("{}: weights differ by {:.3g}", name, relative_distance(w, expected));
    const std::vector<float>& m = now.moments.at(name);
    if (bitwise && std::memcmp(m.data(), reference.moments.at(name).data(), m.size() * 4) != 0)
      return name + ": moments differ";
  }
  return "";
}

}  // namespace

void LayoutCheck::check(const Layout& layout, bool must_agree) {
  if (verbose_ && transport_.rank() == 0) fmt::print(stderr, "{}\n", layout.name());
  const Outcome now = run_layout(transport_, layout, steps_, device_);
  if (transport_.rank() != 0) return;
  std::string difference = now.replicas_differ;
  if (difference.empty())
    difference = compare(now, reference(reference_of(layout)), equal_bits(layout));
  const bool good = difference.empty() == must_agree;
  failures_ += good ? 0 : 1;
  ++runs_;
  if (!good)
    fmt::print("FAILED {}{}: {}\n", layout.name(), must_agree ? "" : " (faulty)",
               must_agree ? difference : "the fault was not noticed");
}

const Outcome& LayoutCheck::reference(const Layout& layout) {
  const auto [it, fresh] = references_.try_emplace(layout.name());
  if (!fresh) return it->second;
  if (layout.ranks() == 1) {
    const auto alone = self_transport();
    it->second = run_layout(*alone, layout, steps_, device_);
  } else {
    run_as_threads(layout.ranks(), [&](Transport& t) {
      Outcome out = run_layout(t, layout, steps_, device_);
      if (t.rank() == 0) it->second = std::move(out);
    });
  }
  return it->second;
}

}  // namespace cria::test
