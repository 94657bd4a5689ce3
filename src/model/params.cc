#include "model/params.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/random.h"
#include "base/thread_pool.h"

namespace cria {
namespace {

constexpr std::string_view kTable = "model.embed_tokens.weight";

Param matrix(std::string name, int64_t out, int64_t in, int tp_dim, int layer) {
  return {.name = std::move(name),
          .shape = {out, in},
          .begin = {0, 0},
          .size = {out, in},
          .tp_dim = tp_dim,
          .layer = layer};
}

Param norm(std::string name, int64_t size, int layer) {
  return {.name = std::move(name),
          .shape = {size},
          .begin = {0},
          .size = {size},
          .decay = false,
          .layer = layer};
}

// Matrices that open a block are split by rows (each rank makes some of the outputs), those that close it by columns.
constexpr int kByRows = 0, kByColumns = 1;

}  // namespace

std::vector<Param> llama_params(const LlamaConfig& c) {
  const int64_t hidden = c.hidden_size, q = c.num_attention_heads * c.head_dim,
                kv = c.num_key_value_heads * c.head_dim;
  std::vector<Param> list;
  list.push_back(matrix(std::string(kTable), c.vocab_size, hidden, kByRows, -1));
  for (int i = 0; i < static_cast<int>(c.num_hidden_layers); ++i) {
    const std::string at = fmt::format("model.layers.{}.", i);
    list.push_back(matrix(at + "self_attn.q_proj.weight", q, hidden, kByRows, i));
    list.push_back(matrix(at + "self_attn.k_proj.weight", kv, hidden, kByRows, i));
    list.push_back(matrix(at + "self_attn.v_proj.weight", kv, hidden, kByRows, i));
    list.push_back(matrix(at + "self_attn.o_proj.weight", hidden, q, kByColumns, i));
    list.push_back(matrix(at + "mlp.gate_proj.weight", c.intermediate_size, hidden, kByRows, i));
    list.push_back(matrix(at + "mlp.up_proj.weight", c.intermediate_size, hidden, kByRows, i));
    list.push_back(matrix(at + "mlp.down_proj.weight", hidden, c.intermediate_size, kByColumns, i));
    list.push_back(norm(at + "input_layernorm.weight", hidden, i));
    list.push_back(norm(at + "post_attention_layernorm.weight", hidden, i));
  }
  list.push_back(norm("model.norm.weight", hidden, -1));
  if (!c.tie_word_embeddings)
    list.push_back(matrix("lm_head.weight", c.vocab_size, hidden, kByRows, -1));
  for (size_t i = 0; i < list.size(); ++i) list[i].number = static_cast<int64_t>(i);
  return list;
}

int64_t count_parameters(const LlamaConfig& config) {
  int64_t count = 0;
  for (const Param& p : llama_params(config)) count += p.elements();
  return count;
}

namespace {

void cut(Param& p, size_t dim, int64_t count, int64_t index) {
  p.size[dim] /= count;
  p.begin[dim] += index * p.size[dim];
}

bool held(const Param& p, const ModelPart& part) {
  if (p.layer >= 0) return std::ranges::binary_search(part.layers, p.layer);
  return p.name == kTable ? part.embedding : part.head;
}

void cut_for(Param& p, const ModelPart& part, const OptimizerShard& shard) {
  const bool table = p.layer < 0 && !p.is_norm();
  if (p.tp_dim >= 0 && part.tp > 1 && (!table || part.vocab_split))
    cut(p, static_cast<size_t>(p.tp_dim), part.tp, part.tp_index);
  const bool entrance = p.name == kTable;
  p.sharded = shard.count > 1 && !entrance && !p.is_norm() &&
              (p.layer >= 0 || !shard.layers_only) && p.size[0] % shard.count == 0 &&
              p.elements() * int64_t{sizeof(float)} > shard.threshold_bytes;
  if (p.sharded) cut(p, 0, shard.count, shard.index);
}

}  // namespace

std::vector<Param> part_params(const LlamaConfig& config, const ModelPart& part,
                               const OptimizerShard& shard) {
  std::vector<Param> list;
  std::optional<Param> table;
  for (Param& p : llama_params(config)) {
    if (p.name == kTable) table = p;
    if (held(p, part)) list.push_back(std::move(p));
  }
  if (config.tie_word_embeddings && part.head && !part.embedding) {
    table->copy = true;
    list.push_back(*std::move(table));
  }
  for (Param& p : list) cut_for(p, part, shard);
  return list;
}

ParamIndex::ParamIndex(const LlamaConfig& config, const ModelPart& part)
    : layers_(static_cast<size_t>(config.num_hidden_layers), -1),
      tied_(config.tie_word_embeddings),
      shared_(config.tie_word_embeddings && part.embedding && part.head) {
  int64_t next = part.embedding ? 1 : 0;
  for (const int64_t layer : part.layers) {
    layers_[static_cast<size_t>(layer)] = next;
    next += kPerLayer;
  }
  if (part.head) norm_ = next;
}

ParamArena::ParamArena(const LlamaConfig& config, DType dtype, const ModelPart& part,
                       const OptimizerShard& shard, Memory* memory)
    : config_(config),
      part_(part),
      params_(part_params(config, part, shard)),
      index_(config, part) {
  offsets_.reserve(params_.size() + 1);
  offsets_.push_back(0);
  for (const Param& p : params_) offsets_.push_back(offsets_.back() + p.elements());
  memory_ = Tensor(dtype, 1, offsets_.back(), memory);
}

ParamArena ParamArena::copy_to(Memory* memory) const { return {*this, memory_.copy_to(memory)}; }
ParamArena ParamArena::empty_like(Memory* memory) const {
  return {*this, Tensor(dtype(), memory_.rows(), memory_.cols(), memory)};
}

namespace {

/// Bytes between memories, of which one at least is the host's (null). A device takes one call at a time.
void transfer(void* to, Memory* to_memory, const void* from, Memory* from_memory, size_t size) {
  if (to_memory == nullptr && from_memory == nullptr) {
    std::memcpy(to, from, size);
    return;
  }
  check(to_memory == nullptr || from_memory == nullptr, "one of the two is the host's");
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  if (to_memory != nullptr) {
    to_memory->write(to, from, size);
  } else {
    from_memory->read(to, from, size);
  }
}

}  // namespace

void ParamArena::read_rows(int64_t i, int64_t first, std::span<std::byte> out) const {
  transfer(out.data(), nullptr, (*this)[i].at(first, 0), memory(), out.size());
}

void ParamArena::write_rows(int64_t i, int64_t first, std::span<const std::byte> rows) {
  transfer((*this)[i].at(first, 0), memory(), rows.data(), nullptr, rows.size());
}

void ParamArena::for_bytes(ConstView part,
                           const std::function<void(std::span<const std::byte>)>& use) const {
  if (memory() == nullptr) return use(bytes_of(part));
  constexpr int64_t kPiece = 16 << 20;
  const int64_t row_bytes = bytes_of(part.dtype, part.cols);
  const int64_t rows = std::clamp<int64_t>(kPiece / row_bytes, 1, part.rows);
  std::vector<std::byte> piece(static_cast<size_t>(rows * row_bytes));
  for (int64_t r = 0; r < part.rows; r += rows) {
    const std::span<std::byte> out =
        std::span(piece).first(static_cast<size_t>(std::min(rows, part.rows - r) * row_bytes));
    transfer(out.data(), nullptr, part.at(r, 0), memory(), out.size());
    use(out);
  }
}

void ParamArena::assign(const ParamArena& other) {
  check(dtype() == other.dtype() && size_bytes() == other.size_bytes(), "the tables are the same");
  transfer(all().data, memory(), other.all().data, other.memory(), size_bytes());
}

template <class V>
V ParamArena::window(V memory, int64_t i, int64_t count) const {
  const auto first = static_cast<size_t>(i);
  const auto end = first + static_cast<size_t>(count);
  check(i >= 0 && end <= params_.size(), "a parameter's index lies inside the table");
  const int64_t cols = params_[first].cols();
  const int64_t rows = (offsets_[end] - offsets_[first]) / cols;
  return {memory.at(0, offsets_[first]), memory.dtype, rows, cols};
}
template View ParamArena::window(View, int64_t, int64_t) const;
template ConstView ParamArena::window(ConstView, int64_t, int64_t) const;

namespace {

/// Rows [first, first + rows.rows) of the box of `p`.
template <class T>
void fill_rows(View rows, const Param& p, int64_t first, uint64_t seed) {
  for (int64_t r = 0; r < rows.rows; ++r) {
    int64_t element = (p.begin[0] + first + r) * p.shape[1] + p.begin[1];
    for (T& value : rows.row<T>(r)) {
      const double normal =
          random_normal(seed, static_cast<uint64_t>(p.number), static_cast<uint64_t>(element++));
      value = T(static_cast<float>(p.init_std * normal));
    }
  }
}

template <class T>
void init_typed(ParamArena& weights, uint64_t seed, ThreadPool& pool) {
  constexpr int64_t elements_at_once = 1 << 16;
  for (int64_t i = 0; i < std::ssize(weights.params()); ++i) {
    const Param& param = weights.params()[static_cast<size_t>(i)];
    const View all = weights[i];
    const int64_t rows = std::max<int64_t>(1, elements_at_once / param.cols());
    pool.parallel_for((all.rows + rows - 1) / rows, [&](int64_t piece) {
      const int64_t begin = piece * rows, count = std::min(rows, all.rows - begin);
      const auto fill = [&](View to) {
        if (param.is_norm()) {
          std::ranges::fill(to.row<T>(0), T(1.0f));
        } else {
          fill_rows<T>(to, param, begin, seed);
        }
      };
      if (weights.memory() == nullptr) return fill(all.row_range(begin, count));
      Tensor made(all.dtype, count, all.cols);
      fill(made.view());
      weights.write_rows(i, begin, bytes_of(made.view()));
    });
  }
}

}  // namespace

void init_parameters(ParamArena& weights, uint64_t seed, ThreadPool& pool) {
  switch (weights.dtype()) {
    case DType::f32:
      return init_typed<float>(weights, seed, pool);
    case DType::f16:
      return init_typed<f16>(weights, seed, pool);
    case DType::bf16:
      return init_typed<bf16>(weights, seed, pool);
    default:
      throw UsageError(fmt::format("weights cannot be initialised as {}, expected F32, F16 or BF16",
                                   name_of(weights.dtype())));
  }
}

}  // namespace cria
