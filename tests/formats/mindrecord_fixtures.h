// MindSpore-made data sets and the canonical bytes of their rows.
#pragma once

#include <zlib.h>

#include "base/bytes.h"
#include "formats/files.h"
#include "formats/mindrecord.h"

namespace cria::test {

inline std::string mindrecord_fixture(const std::string& name) {
  return fixture("mindspore/mindrecord/" + name);
}

inline void gunzip(const std::string& from, const std::string& to) {
  const gzFile in = gzopen(from.c_str(), "rb");
  ASSERT_NE(in, nullptr) << from;
  std::string all, piece(1 << 20, 0);
  for (int n = 0; (n = gzread(in, piece.data(), static_cast<unsigned>(piece.size()))) > 0;)
    all.append(piece, 0, static_cast<size_t>(n));
  gzclose(in);
  spew(to, all);
}

/// Every column as u64 length and bytes, in byte order of the names (a reader's order).
inline void append_canonical(const MindRecordRow& row, std::vector<std::byte>& out) {
  for (const MindRecordValue& value : row.values) {
    std::visit(
        [&]<class T>(const T& v) {
          if constexpr (std::is_arithmetic_v<T>) {
            append_le(out, uint64_t{8});
            append_le(out, v);
          } else {
            const auto bytes = std::as_bytes(std::span(v));
            append_le(out, uint64_t{bytes.size()});
            append_bytes(out, bytes);
          }
        },
        value);
  }
}

inline MindRecordSchema lm_schema() {
  const auto array = [](const char* name) {
    return MindRecordColumn{.name = name, .shape = {-1}, .has_shape = true};
  };
  return {.description = "", .columns = {array("input_ids"), array("labels")}};
}

}  // namespace cria::test
