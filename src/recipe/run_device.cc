#include "recipe/run_device.h"

#include "base/cpu.h"
#include "base/error.h"
#include "plan/host_memory.h"

namespace cria::recipe {

std::unique_ptr<ops::Device> device_of_run(const RecipeSettings& s) {
  if (!s.gpu) return nullptr;
  const int64_t ranks = s.parallel.dp * s.parallel.tp * s.parallel.pp;
  require(ranks == 1,
          "config: context.device_target is GPU, where one rank computes, not {}; try: "
          "--context.device_target CPU, or one rank",
          ranks);
  return ops::open_cuda_device(*s.gpu);
}

int64_t available_to_rank(ops::Device* device) {
  return device != nullptr ? device->available() : available_memory() / ranks_on_this_host();
}

}  // namespace cria::recipe
