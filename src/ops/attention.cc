// Attention over documents: checks, then units of work cut by shape.
#include "ops/attention.h"

#include <atomic>
#include <memory>
#include <vector>

#include "ops/attention_door.h"
#include "ops/attention_ref.h"
#include "ops/device.h"
#include "ops/memory.h"
#include "ops/scratch.h"

namespace cria::ops {
namespace {

void require_documents(std::string_view op, std::span<const int64_t> documents, int64_t tokens) {
  require(!documents.empty() && documents.front() == 0 && documents.back() == tokens,
          "{}: documents must begin with 0 and end with the number of tokens, {}", op, tokens);
  for (size_t i = 1; i < documents.size(); ++i) {
    require(documents[i - 1] <= documents[i], "{}: document {} ends at {}, before its start {}", op,
            i - 1, documents[i], documents[i - 1]);
  }
}

/// Some queries of a document.
struct QueryBlock {
  int64_t document_begin, first, count;
};

/// Blocks of all documents; the later ones of a document, which see more keys, come first.
void cut_queries(std::span<const int64_t> documents, int64_t size,
                 std::vector<QueryBlock>& blocks) {
  blocks.clear();
  for (size_t i = 1; i < documents.size(); ++i) {
    const int64_t begin = documents[i - 1], tokens = documents[i] - begin;
    for (int64_t b = (tokens + size - 1) / size - 1; b >= 0; --b) {
      blocks.push_back({begin, b * size, std::min(size, tokens - b * size)});
    }
  }
}

/// A document by its place, longest first so that no thread starts a long one last.
struct Document {
  int64_t begin, tokens;
};
void sort_documents(std::span<const int64_t> documents, std::vector<Document>& sorted) {
  sorted.clear();
  for (size_t i = 1; i < documents.size(); ++i) {
    const int64_t tokens = documents[i] - documents[i - 1];
    if (tokens > 0) sorted.push_back({documents[i - 1], tokens});
  }
  std::sort(sorted.begin(), sorted.end(), [](const Document& a, const Document& b) {
    return a.tokens != b.tokens ? a.tokens > b.tokens : a.begin < b.begin;
  });
}

/// The heads of a group add their shares of dk and dv in order, each after the one before it, chunk
/// of keys by chunk of keys. Units start in order, so a unit only ever waits for one that runs.
class Turns {
 public:
  void reset(int64_t heads) {
    if (heads > capacity_) {
      done_ = std::make_unique<std::atomic<int64_t>[]>(static_cast<size_t>(heads));
      capacity_ = heads;
    }
    for (int64_t h = 0; h < heads; ++h) done_[static_cast<size_t>(h)] = 0;
  }
  void wait(int64_t head, int64_t chunks) const {
    const std::atomic<int64_t>& done = done_[static_cast<size_t>(head)];
    for (int64_t seen = done.load(); seen < chunks; seen = done.load()) done.wait(seen);
  }
  void finished(int64_t head) {
    ++done_[static_cast<size_t>(head)];
    done_[static_cast<size_t>(head)].notify_all();
  }

 private:
  std::unique_ptr<std::atomic<int64_t>[]> done_;
  int64_t capacity_ = 0;
};

/// Floats of the sums of dk, or of dv, over the heads that share a KV head.
int64_t group_sum_size(int64_t tokens, const HeadShape& shape) {
  if (shape.heads == shape.kv_heads) return 0;
  return tokens * shape.kv_heads * padded_dim(shape.head_dim);
}

void run_backward(const BackwardUnit& unit, int64_t index, int64_t group, Turns& turns) {
  const auto& kernels = attention_backward_kernels();
  const int64_t member = index % group;
  kernels.begin(unit);
  for (int64_t key = 0, chunk = 1; key < unit.tokens; key += kGradientKeys, ++chunk) {
    kernels.keys(unit, key);
    if (member > 0) turns.wait(index - 1, chunk);
    kernels.add_share(unit, key, {member == 0, member == group - 1});
    turns.finished(index);
  }
  kernels.finish(unit);
}

}  // namespace

void attention(ConstView q, ConstView k, ConstView v, std::span<const int64_t> documents,
               const HeadShape& shape, View out, View lse, const Exec& exec) {
  constexpr std::string_view op = "attention";
  require_heads(op, shape);
  const int64_t tokens = q.rows, dim = shape.head_dim, group = shape.heads / shape.kv_heads;
  require_matrix(op, "q", q, tokens, shape.heads * dim);
  require_matrix(op, "k", k, tokens, shape.kv_heads * dim);
  require_matrix(op, "v", v, tokens, shape.kv_heads * dim);
  require_matrix(op, "out", out, tokens, shape.heads * dim);
  if (lse.data != nullptr) {
    require_dtype(op, "lse", lse, DType::f32);
    require_shape(op, "lse", lse, tokens, shape.heads);
  }
  require_documents(op, documents, tokens);
  if (exec.device != nullptr) return exec.device->attention(q, k, v, documents, shape, out, lse);
  if (exec.reference) return attention_ref(q, k, v, documents, shape, out, lse);

  thread_local std::vector<QueryBlock> blocks;
  thread_local Scratch memory;
  const auto& kernels = attention_kernels();
  const int64_t block = unit_queries(shape);
  cut_queries(documents, block, blocks);
  const int64_t scratch = kernels.forward_scratch(block * group, dim);
  float* const all_scratch = memory.floats(scratch * exec.pool.threads());
  const std::span<const QueryBlock> work = blocks;
  exec.pool.parallel_for_worker(
      static_cast<int64_t>(work.size()) * shape.kv_heads, [&](int64_t i, int worker) {
        const QueryBlock& b = work[static_cast<size_t>(i / shape.kv_heads)];
        const int64_t g = i % shape.kv_heads, row = b.document_begin + b.first;
        ForwardUnit unit;
        unit.q = head_rows(q, row, g * group, dim);
        unit.k = head_rows(k, b.document_begin, g, dim);
        unit.v = head_rows(v, b.document_begin, g, dim);
        unit.out = head_rows(out, row, g * group, dim);
        if (lse.data != nullptr) unit.lse = static_cast<float*>(lse.at(row, g * group));
        unit.lse_stride = lse.stride;
        unit.queries = b.count;
        unit.first_position = b.first;
        unit.group = group;
        unit.head_dim = dim;
        unit.scratch = all_scratch + worker * scratch;
        kernels.forward(unit);
      });
}

void attention_backward(ConstView q, ConstView k, ConstView v, ConstView out, ConstView lse,
                        ConstView dout, std::span<const int64_t> documents, const HeadShape& shape,
                        View dq, View dk, View dv, const Exec& exec) {
  constexpr std::string_view op = "attention_backward";
  require_heads(op, shape);
  const int64_t tokens = q.rows, dim = shape.head_dim, group = shape.heads / shape.kv_heads;
  for (const auto& [name, view] :
       {std::pair<std::string_view, ConstView>{"q", q}, {"out", out}, {"dout", dout}, {"dq", dq}}) {
    require_matrix(op, name, view, tokens, shape.heads * dim);
  }
  for (const auto& [name, view] :
       {std::pair<std::string_view, ConstView>{"k", k}, {"v", v}, {"dk", dk}, {"dv", dv}}) {
    require_matrix(op, name, view, tokens, shape.kv_heads * dim);
  }
  require_dtype(op, "lse", lse, DType::f32);
  require_shape(op, "lse", lse, tokens, shape.heads);
  require_documents(op, documents, tokens);
  if (exec.device != nullptr)
    return exec.device->attention_backward(q, k, v, out, lse, dout, documents, shape, dq, dk, dv);
  if (exec.reference) return attention_backward_ref(q, k, v, dout, documents, shape, dq, dk, dv);

  thread_local std::vector<Document> sorted;
  thread_local Turns turns_memory;
  thread_local Scratch memory, sums_memory;
  sort_documents(documents, sorted);
  if (sorted.empty()) return;
  const int64_t scratch = attention_backward_kernels().scratch(sorted.front().tokens, dim);
  float* const all_scratch = memory.floats(scratch * exec.pool.threads());
  const int64_t sum_stride = shape.kv_heads * padded_dim(dim);
  const int64_t sum_size = group_sum_size(tokens, shape);
  float* const sums = sums_memory.floats(2 * sum_size);
  const std::span<const Document> work = sorted;
  const int64_t units = static_cast<int64_t>(work.size()) * shape.heads;
  Turns& turns = turns_memory;
  turns.reset(units);
  exec.pool.parallel_for_worker(units, [&](int64_t i, int worker) {
    const Document& document = work[static_cast<size_t>(i / shape.heads)];
    const int64_t h = i % shape.heads, g = h / group, row = document.begin;
    BackwardUnit unit;
    unit.q = head_rows(q, row, h, dim);
    unit.k = head_rows(k, row, g, dim);
    unit.v = head_rows(v, row, g, dim);
    unit.out = head_rows(out, row, h, dim);
    unit.dout = head_rows(dout, row, h, dim);
    unit.lse = static_cast<const float*>(lse.at(row, h));
    unit.lse_stride = lse.stride;
    unit.dq = head_rows(dq, row, h, dim);
    unit.dk = head_rows(dk, row, g, dim);
    unit.dv = head_rows(dv, row, g, dim);
    if (group > 1) {
      unit.dk_sum = sums + row * sum_stride + g * padded_dim(dim);
      unit.dv_sum = unit.dk_sum + sum_size;
    }
    unit.sum_stride = sum_stride;
    unit.tokens = document.tokens;
    unit.head_dim = dim;
    unit.scratch = all_scratch + worker * scratch;
    run_backward(unit, i, group, turns);
  });
}

int64_t attention_memory(const HeadShape& shape, int threads) {
  const int64_t group = shape.heads / shape.kv_heads;
  return int64_t{4} * threads *
         attention_kernels().forward_scratch(unit_queries(shape) * group, shape.head_dim);
}

int64_t attention_backward_memory(int64_t tokens, int64_t longest, const HeadShape& shape,
                                  int threads) {
  const int64_t scratch = attention_backward_kernels().scratch(longest, shape.head_dim);
  return 4 * (threads * scratch + 2 * group_sum_size(tokens, shape));
}

}  // namespace cria::ops
