#include "cli/check_training.h"

#include <cmath>

#include "base/error.h"

namespace cria::cli {

void check_training(const std::string& command, const TrainSettings& s) {
  // Small enough that products of them stay far below 2^63.
  constexpr int64_t kMostSamples = 1 << 20, kMostSteps = int64_t{1} << 40, kMostEpochs = 1 << 20;
  const auto count = [&](const char* flag, int64_t value, int64_t least, int64_t most) {
    require(value >= least && value <= most, "{}: --{} is {}, expected {} to {}", command, flag,
            value, least, most);
  };
  count("epochs", s.epochs, 1, kMostEpochs);
  count("batch_size", s.batch_size, 1, kMostSamples);
  count("gradient_accumulation_steps", s.gradient_accumulation_steps, 1, kMostSamples);
  count("max_steps", s.max_steps, 0, kMostSteps);
  count("save_every", s.save_every, 0, kMostSteps);
  const OptimizerSettings& o = s.optimizer;
  for (const auto& [flag, beta] : {std::pair("beta1", o.beta1), std::pair("beta2", o.beta2)})
    require(beta >= 0 && beta < 1, "{}: --{} is {}, expected 0 to below 1", command, flag, beta);
  require(std::isfinite(o.eps) && o.eps > 0, "{}: --eps is {}, expected above 0", command, o.eps);
  require(std::isfinite(o.weight_decay) && o.weight_decay >= 0,
          "{}: --weight_decay is {}, expected 0 or more", command, o.weight_decay);
  require(std::isfinite(o.max_grad_norm) && o.max_grad_norm >= 0,
          "{}: --max_grad_norm is {}, expected 0 or more", command, o.max_grad_norm);
}

}  // namespace cria::cli
