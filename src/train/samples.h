// Where training samples come from: data sets on disk, or tensors given by a comparison tool.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/llama.h"

namespace cria {

/// A micro batch in memory. Every sample is a document of its own: attention and positions start anew.
struct Samples {
  std::vector<int32_t> ids, targets, positions;
  std::vector<int64_t> documents = {0};

  void clear();
  /// targets[t] is the token that should follow ids[t], negative where untrained. Both of the same length.
  void add(std::span<const int32_t> ids, std::span<const int32_t> targets);
  [[nodiscard]] int64_t count() const { return static_cast<int64_t>(documents.size()) - 1; }
  [[nodiscard]] int64_t tokens() const { return static_cast<int64_t>(ids.size()); }
  [[nodiscard]] int64_t trained() const;
  [[nodiscard]] Batch batch() const { return {ids, targets, documents, positions}; }
};

class SampleSource {
 public:
  virtual ~SampleSource() = default;
  [[nodiscard]] virtual int64_t samples_per_epoch() const = 0;
  /// Replaces `out` with samples [position, position + count) of an epoch, both counted from 0. Any place is reached at once:
  /// the order is a pure function of (seed, epoch).
  virtual void fill(int64_t epoch, int64_t position, int64_t count, Samples& out) = 0;
  /// Changes when the data change; kept in checkpoints.
  [[nodiscard]] virtual std::string fingerprint() const = 0;
};

}  // namespace cria
