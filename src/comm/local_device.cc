#include "comm/local_device.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace cria {

int local_device(int devices) {
  if (devices < 1) throw Error(ExitCode::rank_died, "no CUDA device here; try: the CPU");
  int local = 0;
  bool chosen = false;
  for (const char* name : {"CRIA_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"}) {
    const char* const text = std::getenv(name);
    if (text == nullptr) continue;
    const char* const end = text + std::strlen(text);
    const auto [stop, error] = std::from_chars(text, end, local);
    require(error == std::errc() && stop == end && local >= 0,
            "{} is \"{}\", expected a number from 0", name, escaped(text));
    chosen = std::string_view(name) == "CRIA_LOCAL_RANK";
    break;
  }
  // A scheduler may show each process its own device only.
  if (!chosen && devices == 1 && std::getenv("CUDA_VISIBLE_DEVICES") != nullptr) return 0;
  if (local < devices) return local;
  throw Error(ExitCode::rank_died,
              fmt::format("process {} of this host needs a CUDA device of its own, found {}; try: "
                          "one rank for each device, or CRIA_LOCAL_RANK={} to share one",
                          local, devices, devices - 1));
}

}  // namespace cria
