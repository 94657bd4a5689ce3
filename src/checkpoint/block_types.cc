#include "checkpoint/block_types.h"

#include <algorithm>

#include "base/error.h"
#include "tensor/open_block.h"

namespace cria {

BlockTypes block_types(DType matrices) {
  check(is_quantised(matrices), "matrices are made into blocks");
  const bool precise = matrices == DType::q8_0 || matrices == DType::q6_k ||
                       (is_int_group(matrices) && int_group_bits(matrices) == 8);
  const DType ends = precise ? matrices : DType::q8_0;
  return {matrices, ends, ends};
}

DType parse_block_type(std::string_view text, std::string_view flag) {
  std::string upper(text);
  std::ranges::transform(upper, upper.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  });
  const auto type = dtype_from_name(upper);
  require(type && (is_quantised(*type) || *type == DType::f32 || *type == DType::f16 ||
                   *type == DType::bf16),
          "{}: unknown type \"{}\", expected q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k, or "
          "int4 or int8 with _g32, _g64 or _g128",
          flag, escaped(text));
  return *type;
}

DType wanted_type(const BlockTypes& types, const TensorInfo& tensor) {
  if (tensor.shape.size() == 1) return DType::f32;
  if (tensor.name == "model.embed_tokens.weight") return types.embedding;
  if (tensor.name == "lm_head.weight") return types.head;
  return types.matrices;
}

DType fitting_type(DType wanted, int64_t width, DType stored) {
  if (width % block_elements(wanted) == 0) return wanted;
  if (is_int_group(wanted)) {
    for (const int64_t group : {64, 32}) {
      if (group < block_elements(wanted) && width % group == 0)
        return *int_group_type(int_group_bits(wanted), group);
    }
  }
  const DType smaller_blocks = wanted == DType::q4_k   ? DType::q5_0
                               : wanted == DType::q5_k ? DType::q5_1
                               : wanted == DType::q6_k ? DType::q8_0
                                                       : wanted;
  if (width % block_elements(smaller_blocks) == 0) return smaller_blocks;
  return is_quantised(stored) ? DType::bf16 : stored;
}

}  // namespace cria
