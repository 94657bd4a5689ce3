// Messages between memories of devices over a transport that knows only the host's: by copies in the host's memory.
#pragma once

#include <memory>

#include "comm/transport.h"
#include "tensor/row_memory.h"

namespace cria {

/// Bytes that `memory` holds are copied when they are sent, and after they have arrived, both in the order of the memory's other
/// work; all others go straight. Both arguments outlive the object.
std::unique_ptr<Transport> staged_transport(Transport& transport, RowMemory& memory);

}  // namespace cria
