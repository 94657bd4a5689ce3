// Python's pickle, the small part in which PyTorch describes a state dict. Nothing is imported or
// called: a value is a tag with contents. Rules: docs/formats/pytorch.md, "The pickle".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tensor/dtype.h"

namespace cria {

/// Where a value is in Pickle::values.
using PickleIndex = uint32_t;

/// The names that a pickle may mention; `storage` is torch's FloatStorage and its like.
struct PickleGlobal {
  enum class Kind : uint8_t { ordered_dict, rebuild_tensor, rebuild_parameter, size, storage };
  Kind kind;
  DType dtype = DType::f32;  // of a storage
};
struct PickleTuple {
  std::vector<PickleIndex> items;
};
struct PickleList {
  std::vector<PickleIndex> items;
};
struct PickleDict {
  std::vector<PickleIndex> items;  // key, value, key, value
  bool ordered = false;            // made by collections.OrderedDict
};
/// Indices into Pickle::storages and Pickle::tensors.
struct PickleStorageRef {
  uint32_t index;
};
struct PickleTensorRef {
  uint32_t index;
};
using PickleValue =
    std::variant<std::monostate, bool, int64_t, double, std::string_view, PickleGlobal, PickleTuple,
                 PickleList, PickleDict, PickleStorageRef, PickleTensorRef>;

/// Elements of one type, side by side, in the archive's record data/<key>.
struct PickleStorage {
  std::string_view key;
  DType dtype = DType::f32;
  uint64_t elements = 0;
};
/// A strided window on a storage; offset and strides in elements. It lies inside.
struct PickleTensor {
  uint32_t storage = 0;
  uint64_t offset = 0;
  std::vector<int64_t> shape, strides;
};

struct Pickle {
  std::vector<PickleValue> values;
  std::vector<PickleStorage> storages;
  std::vector<PickleTensor> tensors;
  PickleIndex root = 0;
};

/// Runs a pickle of protocol 2. `bytes` are borrowed by the result's texts; `path` and `base_offset`
/// (of the pickle in its file) are for messages. Throws FormatError, naming opcode or global and
/// the offset, at anything that a state dict does not need; at cycles; and at values deeper than 64.
Pickle parse_pickle(std::span<const std::byte> bytes, const std::string& path,
                    uint64_t base_offset = 0);

}  // namespace cria
