// Checks, then rows on all threads; in backward tokens are first sorted by id, so that each row of
// the table is written by one thread, in token order.
#include "ops/embedding.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "ops/door.h"
#include "ops/elementwise_kernels.h"
#include "ops/embedding_kernels.h"
#include "ops/embedding_ref.h"

namespace cria::ops {
namespace {

void check_ids(std::string_view op, std::span<const int32_t> ids, int64_t vocab_size) {
  for (size_t t = 0; t < ids.size(); ++t) {
    require(ids[t] >= 0 && ids[t] < vocab_size,
            "{}: token {} has id {}, expected an id of at least 0 and less than {}", op, t, ids[t],
            vocab_size);
  }
}

int64_t vocabulary(const VocabRows& held, ConstView table) {
  if (held.total_rows < 0) return table.rows;
  require(held.first_row >= 0 && held.first_row + table.rows <= held.total_rows,
          "embedding: rows {} to {} of a vocabulary of {}", held.first_row,
          held.first_row + table.rows, held.total_rows);
  return held.total_rows;
}

// The tokens whose ids lie in [first_row, first_row + rows) and their rows there.
struct HeldTokens {
  std::vector<int32_t> tokens, rows;
  void select(std::span<const int32_t> ids, int64_t first_row, int64_t count) {
    tokens.clear();
    rows.clear();
    for (size_t t = 0; t < ids.size(); ++t) {
      const int64_t row = ids[t] - first_row;
      if (row < 0 || row >= count) continue;
      tokens.push_back(static_cast<int32_t>(t));
      rows.push_back(static_cast<int32_t>(row));
    }
  }
};

// The tokens grouped by id, in token order inside a group; groups in order of first appearance.
struct Groups {
  std::vector<int32_t> tokens;
  std::vector<int32_t> starts;    // of each group in `tokens`, and the end
  std::vector<int32_t> group_of;  // by id; -1 between calls, so that a call costs O(tokens)
  std::vector<int32_t> next;      // by group: where its next token goes

  void sort(std::span<const int32_t> ids, int64_t vocab_size) {
    group_of.resize(std::max(group_of.size(), static_cast<size_t>(vocab_size)), -1);
    const auto group = [&](int32_t id) -> int32_t& { return group_of[static_cast<size_t>(id)]; };
    next.clear();
    for (const int32_t id : ids) {
      if (group(id) < 0) {
        group(id) = static_cast<int32_t>(next.size());
        next.push_back(0);
      }
      ++next[static_cast<size_t>(group(id))];
    }
    starts.assign(1, 0);
    for (int32_t& n : next) {
      starts.push_back(starts.back() + n);
      n = starts[starts.size() - 2];
    }
    tokens.resize(ids.size());
    for (size_t t = 0; t < ids.size(); ++t) {
      int32_t& to = next[static_cast<size_t>(group(ids[t]))];
      tokens[static_cast<size_t>(to++)] = static_cast<int32_t>(t);
    }
    for (const int32_t id : ids) group(id) = -1;
  }
};

}  // namespace

void embedding(std::span<const int32_t> ids, ConstView table, View out, const Exec& exec,
               const VocabRows& held) {
  require_compute("embedding", "table", table);
  require_compute("embedding", "out", out);
  require_shape("embedding", "out", out, static_cast<int64_t>(ids.size()), table.cols);
  check_ids("embedding", ids, vocabulary(held, table));
  if (exec.reference && held.total_rows < 0) return embedding_ref(ids, table, out);
  const Pieces pieces(out.rows, out.cols);
  const auto& kernels = elementwise_kernels();
  exec.pool.parallel_for(pieces.count(), [&](int64_t i) {
    pieces.for_rows(i, [&](int64_t t, int64_t c, int64_t n) {
      const int64_t row = ids[static_cast<size_t>(t)] - held.first_row;
      if (row < 0 || row >= table.rows) {
        std::memset(out.at(t, c), 0, static_cast<size_t>(bytes_of(out.dtype, n)));
        return;
      }
      kernels.convert(table.at(row, c), table.dtype, out.at(t, c), out.dtype, n);
    });
  });
}

void embedding_backward(std::span<const int32_t> ids, ConstView dout, View dtable, const Exec& exec,
                        const VocabRows& held) {
  constexpr std::string_view op = "embedding_backward";
  require_compute(op, "dout", dout);
  require_dtype(op, "dtable", dtable, DType::f32);
  require_shape(op, "dout", dout, static_cast<int64_t>(ids.size()), dtable.cols);
  check_ids(op, ids, vocabulary(held, dtable));
  if (exec.reference && held.total_rows < 0) return embedding_backward_ref(ids, dout, dtable);
  thread_local HeldTokens selected;
  selected.select(ids, held.first_row, dtable.rows);
  if (selected.rows.empty() || dtable.cols == 0) return;

  thread_local Groups memory;
  Groups& groups = memory;
  groups.sort(selected.rows, dtable.rows);
  // From places among the held tokens to tokens.
  for (int32_t& token : groups.tokens) token = selected.tokens[static_cast<size_t>(token)];
  // Columns are cut too: one id (a template's token) may have most of the tokens.
  constexpr int64_t columns = 1024;
  const int64_t parts = (dtable.cols + columns - 1) / columns;
  const auto count = static_cast<int64_t>(groups.next.size());
  const auto& kernels = embedding_kernels();
  exec.pool.parallel_for(count * parts, [&](int64_t i) {
    const auto g = static_cast<size_t>(i / parts);
    const int64_t c = i % parts * columns, n = std::min(columns, dtable.cols - c);
    const int32_t* tokens = groups.tokens.data() + groups.starts[g];
    const int64_t row = ids[static_cast<size_t>(tokens[0])] - held.first_row;
    kernels.add_rows(dout.at(0, c), dout.dtype, dout.stride, tokens,
                     groups.starts[g + 1] - groups.starts[g],
                     static_cast<float*>(dtable.at(row, c)), n);
  });
}

}  // namespace cria::ops
