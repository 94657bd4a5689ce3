// layout_matrix [--threads N] [--steps S]
//
// Every layout of N ranks (threads of this process, or the ranks of MPI that run it) trains the same small model. Layouts
// without tensor parallelism must give the bits of the run they equal by construction; tensor parallelism, which adds in another
// order, must stay within the tolerance. Faulty runs must be noticed.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "parallel/layout_rig.h"

namespace {

using namespace cria;
using namespace cria::test;

std::vector<Layout> layouts_of(int ranks) {
  std::vector<Layout> list;
  for (int pp = 1; pp <= ranks; pp *= 2) {
    for (int tp = 1; tp * pp <= ranks; tp *= 2) {
      const int dp = ranks / pp / tp;
      for (const int zero : {0, 1, 2, 3}) {
        if (zero > 0 && dp == 1) continue;
        for (const int chunks : {1, 2}) {
          if (chunks > 1 && (pp == 1 || pp > 4)) continue;
          for (const bool sequence : {false, true}) {
            if (sequence && tp == 1) continue;
            for (const bool vocab : {false, true}) {
              if (vocab && tp == 1) continue;
              // What is cut over dp has little to do with the splits of tensor parallelism.
              if (zero >= 2 && sequence != vocab) continue;
              for (const bool tied : {false, true}) {
                list.push_back({.dp = dp,
                                .tp = tp,
                                .pp = pp,
                                .zero = zero,
                                .sequence = sequence,
                                .vocab = vocab,
                                .chunks = chunks,
                                .micros = pp == 1 ? 1 : pp * 2,
                                .tied = tied});
              }
            }
          }
        }
      }
    }
  }
  return list;
}

/// What is cut lies in several copies, in groups of every size that divides dp.
std::vector<Layout> with_copies(const std::vector<Layout>& list) {
  std::vector<Layout> more;
  for (Layout l : list) {
    // Interleaved schedules and the splits of tensor parallelism do not meet these groups.
    if (l.zero == 0 || l.chunks > 1 || l.sequence != l.vocab) continue;
    for (l.shard = 1; l.shard < l.dp; l.shard *= 2)
      if (l.shard > 1 || l.zero == 1) more.push_back(l);
  }
  return more;
}

/// Whole tables whose rows tensor-parallel ranks cannot share out evenly.
std::vector<Layout> with_odd_vocabularies(const std::vector<Layout>& list) {
  std::vector<Layout> more;
  for (Layout l : list) {
    if (l.tp == 1 || l.vocab || l.zero > 0 || l.chunks > 1) continue;
    l.vocab_size = 509;
    more.push_back(l);
  }
  return more;
}

/// The simplest run that a layout must agree with.
Layout reference_of(const Layout& l) {
  // Without a pipeline, dp ranks are micro batches of one rank.
  if (l.micros == 1)
    return {.chunks = l.chunks, .micros = l.dp, .tied = l.tied, .vocab_size = l.vocab_size};
  // Gradients that are summed after every micro batch are added in an order of their own.
  const int zero = l.pp > 1 && l.zero >= 2 ? 2 : 0;
  return {.dp = l.dp,
          .zero = zero,
          .chunks = l.chunks,
          .micros = l.micros,
          .tied = l.tied,
          .vocab_size = l.vocab_size};
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

class Matrix {
 public:
  Matrix(Transport& transport, int steps) : transport_(transport), steps_(steps) {}

  void check_layout(const Layout& layout, bool must_agree) {
    std::string difference;
    if (verbose_ && transport_.rank() == 0) fmt::print(stderr, "{}\n", layout.name());
    const Outcome now = run_layout(transport_, layout, steps_);
    if (transport_.rank() != 0) return;
    difference = now.replicas_differ;
    if (difference.empty())
      difference = compare(now, reference(reference_of(layout)), equal_bits(layout));
    const bool good = difference.empty() == must_agree;
    failures_ += good ? 0 : 1;
    ++runs_;
    if (!good)
      fmt::print("FAILED {}{}: {}\n", layout.name(), must_agree ? "" : " (faulty)",
                 must_agree ? difference : "the fault was not noticed");
  }
  [[nodiscard]] int failures() const { return failures_; }
  [[nodiscard]] int runs() const { return runs_; }

 private:
  const Outcome& reference(const Layout& layout) {
    const auto [it, fresh] = references_.try_emplace(layout.name());
    if (!fresh) return it->second;
    if (layout.ranks() == 1) {
      const auto alone = self_transport();
      it->second = run_layout(*alone, layout, steps_);
    } else {
      run_as_threads(layout.ranks(), [&](Transport& t) {
        Outcome out = run_layout(t, layout, steps_);
        if (t.rank() == 0) it->second = std::move(out);
      });
    }
    return it->second;
  }

  Transport& transport_;
  int steps_, failures_ = 0, runs_ = 0;
  bool verbose_ = std::getenv("LAYOUT_MATRIX_VERBOSE") != nullptr;
  std::map<std::string, Outcome> references_;
};

int run_matrix(Transport& transport, int ranks, int steps) {
  Matrix matrix(transport, steps);
  const std::vector<Layout> layouts = layouts_of(ranks);
  for (const Layout& layout : layouts) matrix.check_layout(layout, true);
  for (const Layout& layout : with_copies(layouts)) matrix.check_layout(layout, true);
  for (const Layout& layout : with_odd_vocabularies(layouts)) matrix.check_layout(layout, true);
  if (ranks >= 2) {
    for (const int zero : {1, 2, 3})
      for (const bool tied : {false, true})
        for (int shard = ranks; shard > 1; shard /= 2)
          matrix.check_layout(
              {.dp = ranks, .zero = zero, .shard = shard, .micros = 3, .tied = tied}, true);
    std::vector<Layout> faulty = {
        {.tp = 2, .sequence = true, .mistake = Mistake::norms_not_summed},
        {.pp = 2, .micros = 4, .tied = true, .mistake = Mistake::tied_not_exchanged},
        {.dp = 2, .mistake = Mistake::own_token_count},
        {.dp = 2, .zero = 1, .mistake = Mistake::weights_not_gathered},
        {.dp = 2, .micros = 3, .mistake = Mistake::summed_too_early},
        {.pp = 2, .micros = 4, .mistake = Mistake::micros_reversed}};
    if (ranks >= 4)
      faulty.push_back({.dp = 4, .zero = 1, .shard = 2, .mistake = Mistake::own_copy_summed});
    for (const Layout& layout : faulty) matrix.check_layout(layout, false);
  }
  if (transport.rank() == 0)
    fmt::print("{} ranks: {} runs, {} failures\n", ranks, matrix.runs(), matrix.failures());
  return matrix.failures();
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 0, steps = 3;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--threads") == 0) threads = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--steps") == 0) steps = std::atoi(argv[i + 1]);
  }
  try {
    int failures = 0;
    if (threads > 0) {
      run_as_threads(threads, [&](Transport& t) {
        const int f = run_matrix(t, threads, steps);
        if (t.rank() == 0) failures = f;
      });
    } else {
      const auto transport = open_transport();
      failures = run_matrix(*transport, transport->size(), steps);
    }
    return failures == 0 ? 0 : 1;
  } catch (const Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return static_cast<int>(e.code);
  }
}
