#include "train/dataset_source.h"

namespace cria {

void DatasetSource::fill(int64_t epoch, int64_t position, int64_t count, Samples& out) {
  ids_.resize(static_cast<size_t>(count * seq_length_));
  targets_.resize(ids_.size());
  dataset_.fill(epoch, position, count, ids_, targets_);
  out.clear();
  for (int64_t s = 0; s < count; ++s) {
    const auto at = static_cast<size_t>(s * seq_length_);
    const auto length = static_cast<size_t>(seq_length_);
    out.add(std::span(ids_).subspan(at, length), std::span(targets_).subspan(at, length));
  }
}

}  // namespace cria
