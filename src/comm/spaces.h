// Memory for messages on their way, used again by the next ones.
#pragma once

#include <map>
#include <vector>

#include "tensor/tensor.h"

namespace cria {

class Spaces {
 public:
  /// `memory` outlives the object and all that it gave; null: the host's.
  explicit Spaces(Memory* memory) : memory_(memory) {}
  /// `bytes` of any contents.
  Tensor take(size_t bytes) {
    std::vector<Tensor>& free = free_[bytes];
    if (free.empty()) return {DType::u8, 1, static_cast<int64_t>(bytes), memory_};
    Tensor space = std::move(free.back());
    free.pop_back();
    return space;
  }
  void give(Tensor space) {
    const size_t bytes = space.size_bytes();
    free_[bytes].push_back(std::move(space));
  }

 private:
  Memory* memory_;
  std::map<size_t, std::vector<Tensor>> free_;
};

}  // namespace cria
