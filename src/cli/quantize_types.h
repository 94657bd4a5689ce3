// What cria quantize makes of --type, --group, --embedding and --head.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/block_types.h"

namespace cria::cli {

struct QuantizeFlags {
  std::string type, embedding, head;  // as given; empty: not given
  int64_t group = 0;                  // likewise, 0
};

/// Whether the type is int4 or int8, which become a folder, and not blocks, which become a GGUF.
bool wants_groups(const QuantizeFlags& flags);

/// The types for these tensors. For int4 and int8 without --group the largest of 128, 64 and 32 that divides the rows of every
/// layer's matrices. Throws UsageError, also for a group that does not divide them. `name` is the command's.
BlockTypes quantize_types(const QuantizeFlags& flags, const std::vector<TensorInfo>& tensors,
                          const std::string& name);

}  // namespace cria::cli
