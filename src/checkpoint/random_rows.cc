// Random weights that are never in memory as a whole.
#include "base/random.h"
#include "checkpoint/convert.h"
#include "formats/element_cast.h"
#include "model/params.h"

namespace cria {

WeightRows random_rows(const LlamaConfig& config, DType dtype, uint64_t seed) {
  const std::vector<Param> params = llama_params(config);
  WeightRows rows;
  for (const Param& p : params) rows.tensors.push_back({p.name, dtype, p.shape});
  rows.read = [params, seed](size_t i, int64_t begin, int64_t count, DType to,
                             std::span<std::byte> out) {
    const Param& p = params[i];
    std::vector<float> values(static_cast<size_t>(count * p.cols()), 1.0f);
    if (!p.is_norm()) {
      auto element = static_cast<uint64_t>(begin * p.cols());
      for (float& v : values)
        v = static_cast<float>(p.init_std * random_normal(seed, i, element++));
    }
    from_f32(values, to, out);
  };
  return rows;
}

}  // namespace cria
