// A MindRecord data set as training samples.
#pragma once

#include "data/loader.h"
#include "train/samples.h"

namespace cria {

class DatasetSource : public SampleSource {
 public:
  DatasetSource(const Dataset& dataset, int64_t seq_length)
      : dataset_(dataset), seq_length_(seq_length) {}
  [[nodiscard]] int64_t samples_per_epoch() const override { return dataset_.samples(); }
  void fill(int64_t epoch, int64_t position, int64_t count, Samples& out) override;
  [[nodiscard]] std::string fingerprint() const override { return dataset_.fingerprint(); }

 private:
  const Dataset& dataset_;
  int64_t seq_length_;
  std::vector<TokenId> ids_;
  std::vector<int32_t> targets_;
};

}  // namespace cria
