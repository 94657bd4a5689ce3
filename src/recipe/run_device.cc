#include "recipe/run_device.h"

#include "base/cpu.h"
#include "comm/local_device.h"
#include "plan/host_memory.h"

namespace cria::recipe {

std::unique_ptr<ops::Device> device_of_run(const RecipeSettings& s) {
  if (!s.gpu) return nullptr;
  const int64_t ranks = s.parallel.dp * s.parallel.tp * s.parallel.pp;
  return ops::open_cuda_device(ranks == 1 ? *s.gpu : local_device(ops::cuda_devices()));
}

CommSettings groups_of_run(const RecipeSettings& s, ops::Device* device) {
  CommSettings settings{.memory = device};
  if (s.step_timeout_s > 0) settings.deadline = std::chrono::seconds(s.step_timeout_s);
  return settings;
}

int64_t available_to_rank(ops::Device* device) {
  return device != nullptr ? device->available() : available_memory() / ranks_on_this_host();
}

}  // namespace cria::recipe
