// Which tensors of a model get which blocks of few bits.
#pragma once

#include <string_view>

#include "formats/tensor_file.h"

namespace cria {

/// Types as wanted, blocks or plain floats. Norms are f32 whatever stands here.
struct BlockTypes {
  DType matrices, embedding, head;
};

/// With the ends in q8_0 when matrices have 4 or 5 bits: they are few of a large model's numbers, and its answers depend on
/// them most. `matrices` is a type of blocks.
BlockTypes block_types(DType matrices);

/// "q4_0" ... "q6_k", "int4_g32" ... "int8_g128", "f32", "f16", "bf16", in any case. Throws UsageError naming the flag.
DType parse_block_type(std::string_view text, std::string_view flag);

/// The type wanted for a tensor of Hugging Face's name.
DType wanted_type(const BlockTypes& types, const TensorInfo& tensor);

/// `wanted`, where its blocks divide rows of `width` numbers. Else, for blocks of 256, the next larger type of 32 (q4_k: q5_0,
/// q5_k: q5_1, q6_k: q8_0), and for groups of 64 and 128 smaller ones; and where 32 does not divide either, `stored`, or bf16 if that is blocks.
DType fitting_type(DType wanted, int64_t width, DType stored);

}  // namespace cria
