#include "checkpoint/part_reader.h"

#include <algorithm>

namespace cria {

void copy_part(const ReadPart& read, DType dtype, const Part& part, TensorWriter& writer) {
  constexpr int64_t kSlabBytes = 4 << 20;
  const TensorInfo slice{.dtype = dtype, .shape = part.size};
  const int64_t rows = part.size.empty() ? 1 : part.size[0];
  const int64_t row_bytes = slice.size_bytes() / rows;
  const int64_t at_once = std::clamp<int64_t>(kSlabBytes / row_bytes, 1, rows);
  std::vector<std::byte> bytes;
  Part slab = part;
  for (int64_t row = 0; row < rows; row += at_once) {
    const int64_t count = std::min(at_once, rows - row);
    if (!slab.size.empty()) {
      slab.begin[0] = part.begin[0] + row;
      slab.size[0] = count;
    }
    bytes.resize(static_cast<size_t>(count * row_bytes));
    read(slab, bytes);
    writer.write(bytes);
  }
}

}  // namespace cria
