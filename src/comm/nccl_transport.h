// GPUs: messages by NCCL, arranged over another transport.
//
// NCCL knows no tags and does not compare sizes, and its calls wait on the device until the other end makes the same call. So the
// two ends of a message first meet over `control`: each says how large its side is and where it lies. Only when they agree, both
// ask NCCL, and nothing waits on a device for longer than the other end takes to look. Every (sender, receiver, channel) is a
// link with a communicator of its own, made when the first message needs it.
//
//   device memory            goes straight; what wrote it must be complete before send() is called
//   host memory              through pinned staging memory of the link, in pieces of 4 MiB
//   host memory both sides   up to 16 KiB, over `control`: NCCL is not asked
//
// Any transfer's done() moves all of the rank's messages on. One that NCCL gives up ends with Error(rank_died) and its text; so
// does every later one of that link. A transfer that is dropped before it is done ends its link too.
#pragma once

#include <memory>

#include "comm/nccl/nccl_table.h"
#include "comm/transport.h"

namespace cria {

/// `control`, which outlives the object, is used by it alone; `device` counts from 0. Throws Error(rank_died) when the device
/// cannot be used. Channels are 0 to 2^19 - 1 here. May be called by several threads.
std::unique_ptr<Transport> nccl_transport(Transport& control, const CriaNcclTable& nccl,
                                          int device);

/// The same over libcria_nccl.so (beside the program, or where CRIA_NCCL_LIBRARY says), on the device of local_device().
std::unique_ptr<Transport> nccl_transport(std::unique_ptr<Transport> control);

}  // namespace cria
