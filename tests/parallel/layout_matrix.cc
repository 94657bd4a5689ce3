// layout_matrix [--threads N] [--steps S] [--alternate 1]
//
// Every layout of N ranks (threads of this process, or the ranks of MPI that run it) trains the same small model. Layouts
// without tensor parallelism must give the bits of the run they equal by construction; tensor parallelism, which adds in another
// order, must stay within the tolerance. Faulty runs must be noticed. With --alternate a layout has a tied or an untied table, in
// turn, and not one after the other.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "parallel/layout_check.h"

namespace {

using namespace cria;
using namespace cria::test;

std::vector<Layout> layouts_of(int ranks, bool alternate) {
  std::vector<Layout> list;
  int combination = 0;
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
              const bool tied_now = ++combination % 2 == 0;
              for (const bool tied : {false, true}) {
                if (alternate && tied != tied_now) continue;
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

int run_matrix(Transport& transport, int ranks, int steps, bool alternate) {
  LayoutCheck matrix(transport, steps);
  const std::vector<Layout> layouts = layouts_of(ranks, alternate);
  for (const Layout& layout : layouts) matrix.check(layout, true);
  for (const Layout& layout : with_copies(layouts)) matrix.check(layout, true);
  for (const Layout& layout : with_odd_vocabularies(layouts)) matrix.check(layout, true);
  if (ranks >= 2) {
    for (const int zero : {1, 2, 3})
      for (const bool tied : {false, true})
        for (int shard = ranks; shard > 1; shard /= 2)
          matrix.check({.dp = ranks, .zero = zero, .shard = shard, .micros = 3, .tied = tied},
                       true);
    std::vector<Layout> faulty = {
        {.tp = 2, .sequence = true, .mistake = Mistake::norms_not_summed},
        {.pp = 2, .micros = 4, .tied = true, .mistake = Mistake::tied_not_exchanged},
        {.dp = 2, .mistake = Mistake::own_token_count},
        {.dp = 2, .zero = 1, .mistake = Mistake::weights_not_gathered},
        {.dp = 2, .micros = 3, .mistake = Mistake::summed_too_early},
        {.pp = 2, .micros = 4, .mistake = Mistake::micros_reversed}};
    if (ranks >= 4)
      faulty.push_back({.dp = 4, .zero = 1, .shard = 2, .mistake = Mistake::own_copy_summed});
    for (const Layout& layout : faulty) matrix.check(layout, false);
  }
  if (transport.rank() == 0)
    fmt::print("{} ranks: {} runs, {} failures\n", ranks, matrix.runs(), matrix.failures());
  return matrix.failures();
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 0, steps = 3;
  bool alternate = false;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--threads") == 0) threads = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--steps") == 0) steps = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--alternate") == 0) alternate = std::atoi(argv[i + 1]) != 0;
  }
  try {
    int failures = 0;
    if (threads > 0) {
      run_as_threads(threads, [&](Transport& t) {
        const int f = run_matrix(t, threads, steps, alternate);
        if (t.rank() == 0) failures = f;
      });
    } else {
      const auto transport = open_transport();
      failures = run_matrix(*transport, transport->size(), steps, alternate);
    }
    return failures == 0 ? 0 : 1;
  } catch (const Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return static_cast<int>(e.code);
  }
}
