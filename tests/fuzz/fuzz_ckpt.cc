// Any bytes as a MindSpore checkpoint.
#include "base/error.h"
#include "formats/mindspore_ckpt.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    const auto layout = cria::parse_mindspore_ckpt(bytes, "fuzz.ckpt");
    // What was accepted must lie inside the file and be exactly the tensors.
    for (size_t i = 0; i < layout.tensors.size(); ++i) {
      uint64_t sum = 0;
      for (const cria::MindsporePiece& piece : layout.pieces[i])
        sum += bytes.subspan(piece.offset, piece.size).size();
      cria::check(sum == static_cast<uint64_t>(layout.tensors[i].size_bytes()), "pieces fit");
    }
  } catch (const cria::FormatError&) {
  }
  return 0;
}
