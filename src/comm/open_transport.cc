#include <cstdlib>

#include "base/error.h"
#include "comm/nccl_transport.h"
#include "comm/transport.h"

namespace cria {

std::unique_ptr<Transport> open_transport() {
  const char* const given = std::getenv("CRIA_TRANSPORT");
  const std::string name = given != nullptr ? given : "mpi";
  require(name == "mpi" || name == "nccl", "CRIA_TRANSPORT is \"{}\", expected mpi or nccl",
          escaped(name));
  if (!started_by_mpi()) return self_transport();
  return name == "nccl" ? nccl_transport(mpi_transport()) : mpi_transport();
}

}  // namespace cria
