#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "model/llama.h"
#include "ops/int8_rows.h"

namespace cria {
namespace {

constexpr int64_t kFirstCapacity = 64;

// The rows of every head move from one spacing to another.
Tensor regrown(const Tensor& old, int64_t heads, int64_t old_capacity, int64_t capacity,
               int64_t filled, int64_t row_cols, DType dtype, Memory* memory) {
  Tensor grown(dtype, heads * capacity, row_cols, memory);
  if (filled == 0) return grown;
  for (int64_t h = 0; h < heads; ++h) {
    void* const to = grown.view().at(h * capacity, 0);
    const void* const from = old.view().at(h * old_capacity, 0);
    const auto size = static_cast<size_t>(bytes_of(dtype, filled * row_cols));
    if (memory != nullptr) {
      memory->copy(to, from, size);
    } else {
      std::memcpy(to, from, size);
    }
  }
  return grown;
}

int64_t row_cols(const LlamaConfig& config, DType dtype) {
  return dtype == DType::i8 ? ops::int8_row_bytes(config.head_dim) : config.head_dim;
}

}  // namespace

int64_t KvCache::token_bytes(const LlamaConfig& config, DType dtype) {
  return 2 * config.num_hidden_layers * config.num_key_value_heads *
         bytes_of(dtype, row_cols(config, dtype));
}

KvCache::KvCache(const LlamaConfig& config, DType dtype, Memory* memory)
    : kv_heads_(config.num_key_value_heads),
      row_cols_(row_cols(config, dtype)),
      max_length_(config.max_position_embeddings),
      dtype_(dtype),
      memory_(memory),
      keys_(static_cast<size_t>(config.num_hidden_layers)),
      values_(static_cast<size_t>(config.num_hidden_layers)) {}

void KvCache::reserve(int64_t tokens) {
  require(tokens >= 0 && tokens <= max_length_ - length_,
          "{} tokens after the {} already read are more than the model's context of {}", tokens,
          length_, max_length_);
  const int64_t needed = length_ + tokens;
  if (needed <= capacity_) return;
  const int64_t capacity = std::min(max_length_, std::max({needed, 2 * capacity_, kFirstCapacity}));
  // All new memory is there before anything changes, so that running out of it leaves the cache whole.
  std::vector<Tensor> keys, values;
  for (size_t i = 0; i < keys_.size(); ++i) {
    keys.push_back(
        regrown(keys_[i], kv_heads_, capacity_, capacity, length_, row_cols_, dtype_, memory_));
    values.push_back(
        regrown(values_[i], kv_heads_, capacity_, capacity, length_, row_cols_, dtype_, memory_));
  }
  keys_ = std::move(keys);
  values_ = std::move(values);
  capacity_ = capacity;
}

}  // namespace cria
