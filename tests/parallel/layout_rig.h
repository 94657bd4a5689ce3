// A small training run that can be done in any layout, and what comes out of it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/transport.h"
#include "model/config.h"
#include "ops/device.h"

namespace cria::test {

/// Something that a run is made to do wrong, to see that the comparison notices.
enum class Mistake {
  none,
  norms_not_summed,    // sequence parallelism: norms' gradients of a rank's own tokens only
  tied_not_exchanged,  // the two ends of a pipeline keep their own part of a tied table's gradient
  own_token_count,     // a dp rank scales by its own trained tokens: a mean of means
  weights_not_gathered,  // a dp rank keeps old values of rows that others updated
  micros_reversed,       // micro batches are added in another order
  own_copy_summed,   // ranks with copies of rows sum them over the ranks of their own copy alone
  summed_too_early,  // sums over dp begin after the first micro batch, not the last
};

struct Layout {
  int dp = 1, tp = 1, pp = 1;
  int zero = 0;           // what is cut over dp: OptimizerShard::zero; 0: nothing
  int shard = 0;          // groups of so many dp ranks have a copy of what is cut (RankGrid::shard)
  bool sequence = false;  // sequence parallelism
  bool vocab = false;     // vocabulary split over tp
  int chunks = 1;         // runs of layers per stage (interleaved schedule)
  int64_t micros = 1;     // micro batches of a dp rank
  bool tied = false;
  int64_t vocab_size = 512;
  bool small = false;  // for a device that is emulated
  Mistake mistake = Mistake::none;

  [[nodiscard]] int ranks() const { return dp * tp * pp; }
  [[nodiscard]] std::string name() const;
};

struct Outcome {
  std::vector<double> losses, norms;
  std::map<std::string, std::vector<float>> weights, moments;  // whole tensors
  std::string replicas_differ;                                 // where several ranks hold one thing
};

/// L8 (16 for interleaved schedules) d128 H16 kv8 F320 V512 (or as the layout says) T64; small L2 (4) d32 H8 kv4 F48 T12.
LlamaConfig rig_config(const Layout& layout);

/// Opens a device for this rank alone.
using OpenDevice = std::function<std::unique_ptr<ops::Device>()>;

/// Trains for so many steps, on the processor or with all matrices on a device (which makes no mistakes on request); every rank of the transport calls it. The first layout.ranks() of them work, rank 0 returns what
/// came out, the others nothing. Samples have uneven masks, one has none at all.
Outcome run_layout(Transport& transport, const Layout& layout, int steps,
                   const OpenDevice& device = nullptr);

}  // namespace cria::test
