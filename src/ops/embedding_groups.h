// Tokens sorted by their row of the table, so that each row's gradient is written once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace cria::ops {

/// The tokens grouped by row of the table, in token order inside a group; groups in order of first
/// appearance. Tokens whose id is in no row are left out.
struct EmbeddingGroups {
  std::vector<int32_t> tokens;
  std::vector<int32_t> starts;    // of each group in `tokens`, and the end
  std::vector<int32_t> group_of;  // by row; -1 between calls, so that a call costs O(tokens)
  std::vector<int32_t> rows;      // of each group, in the table
  std::vector<int32_t> next;      // by group: where its next token goes

  void sort(std::span<const int32_t> ids, int64_t first_row, int64_t table_rows) {
    group_of.resize(std::max(group_of.size(), static_cast<size_t>(table_rows)), -1);
    const auto each = [&](auto&& use) {
      for (size_t t = 0; t < ids.size(); ++t) {
        const int64_t row = ids[t] - first_row;
        if (row >= 0 && row < table_rows)
          use(static_cast<int32_t>(t), group_of[static_cast<size_t>(row)]);
      }
    };
    next.clear();
    rows.clear();
    each([&](int32_t t, int32_t& group) {
      if (group < 0) {
        group = static_cast<int32_t>(next.size());
        next.push_back(0);
        rows.push_back(static_cast<int32_t>(ids[static_cast<size_t>(t)] - first_row));
      }
      ++next[static_cast<size_t>(group)];
    });
    starts.assign(1, 0);
    for (int32_t& n : next) {
      starts.push_back(starts.back() + n);
      n = starts[starts.size() - 2];
    }
    tokens.resize(static_cast<size_t>(starts.back()));
    each([&](int32_t t, int32_t& group) {
      int32_t& to = next[static_cast<size_t>(group)];
      tokens[static_cast<size_t>(to++)] = t;
    });
    each([](int32_t, int32_t& group) { group = -1; });
  }
};

}  // namespace cria::ops
