#include "tensor/dtype.h"

#include <fmt/core.h>

#include <array>

namespace cria {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  int64_t elements, bytes;
};
constexpr std::array kRows = {
    Row{DType::f32, "F32", 1, 4},
    Row{DType::f16, "F16", 1, 2},
    Row{DType::bf16, "BF16", 1, 2},
    Row{DType::f64, "F64", 1, 8},
    Row{DType::i8, "I8", 1, 1},
    Row{DType::i16, "I16", 1, 2},
    Row{DType::i32, "I32", 1, 4},
    Row{DType::i64, "I64", 1, 8},
    Row{DType::u8, "U8", 1, 1},
    Row{DType::u16, "U16", 1, 2},
    Row{DType::u32, "U32", 1, 4},
    Row{DType::u64, "U64", 1, 8},
    Row{DType::boolean, "BOOL", 1, 1},
    Row{DType::q4_0, "Q4_0", 32, 18},
    Row{DType::q4_1, "Q4_1", 32, 20},
    Row{DType::q5_0, "Q5_0", 32, 22},
    Row{DType::q5_1, "Q5_1", 32, 24},
    Row{DType::q8_0, "Q8_0", 32, 34},
    Row{DType::q4_k, "Q4_K", 256, 144},
    Row{DType::q5_k, "Q5_K", 256, 176},
    Row{DType::q6_k, "Q6_K", 256, 210},
    Row{DType::int4_g32, "INT4_G32", 32, 20},
    Row{DType::int4_g64, "INT4_G64", 64, 36},
    Row{DType::int4_g128, "INT4_G128", 128, 68},
    Row{DType::int8_g32, "INT8_G32", 32, 36},
    Row{DType::int8_g64, "INT8_G64", 64, 68},
    Row{DType::int8_g128, "INT8_G128", 128, 132},
};

const Row& row(DType dtype) { return kRows[static_cast<size_t>(dtype)]; }

}  // namespace

int64_t block_elements(DType dtype) { return row(dtype).elements; }
int64_t block_bytes(DType dtype) { return row(dtype).bytes; }
std::string_view name_of(DType dtype) { return row(dtype).name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const Row& r : kRows) {
    if (r.name == name) return r.dtype;
  }
  return std::nullopt;
}

std::optional<DType> int_group_type(int64_t bits, int64_t group) {
  return dtype_from_name(fmt::format("INT{}_G{}", bits, group));
}

}  // namespace cria
