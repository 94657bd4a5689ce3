// Random tensor files, and what is compared between formats.
#pragma once

#include "base/sha256.h"
#include "formats/files.h"
#include "formats/tensor_file.h"

namespace cria::test {

inline std::vector<std::byte> contents(const TensorReader& reader, size_t index) {
  std::vector<std::byte> out(static_cast<size_t>(reader.tensors()[index].size_bytes()));
  reader.read(index, 0, out);
  return out;
}

struct RandomTensors {
  std::vector<TensorInfo> infos;
  std::vector<std::vector<std::byte>> bytes;
};
/// `count` tensors of all plain types, 0 to 4 dims; sizes of 0 only with `empty`.
inline RandomTensors random_tensors(std::mt19937& random, int count, bool empty) {
  constexpr DType types[] = {DType::f32, DType::f16, DType::bf16,   DType::f64, DType::i8,
                             DType::i16, DType::i32, DType::i64,    DType::u8,  DType::u16,
                             DType::u32, DType::u64, DType::boolean};
  RandomTensors out;
  for (int i = 0; i < count; ++i) {
    TensorInfo info{.name = "t" + std::to_string(i) + std::string(random() % 3, '.'),
                    .dtype = types[random() % 13]};
    for (size_t d = random() % 5; d-- > 0;)
      info.shape.push_back(static_cast<int64_t>(random() % 6 + (empty ? 0 : 1)));
    std::vector<std::byte> bytes(static_cast<size_t>(info.size_bytes()));
    for (auto& b : bytes) b = static_cast<std::byte>(random());
    out.infos.push_back(std::move(info));
    out.bytes.push_back(std::move(bytes));
  }
  return out;
}

/// Writes everything in pieces of random sizes, across tensor borders.
inline void write_in_pieces(TensorWriter& writer, const RandomTensors& tensors,
                            std::mt19937& random) {
  std::vector<std::byte> all;
  for (const auto& bytes : tensors.bytes) all.insert(all.end(), bytes.begin(), bytes.end());
  for (std::span<const std::byte> left(all); !left.empty();) {
    const auto piece = left.first(std::min<size_t>(left.size(), 1 + random() % 50));
    writer.write(piece);
    left = left.subspan(piece.size());
  }
  writer.commit();
}

inline void expect_equal(const TensorReader& reader, const RandomTensors& tensors,
                         std::mt19937& random) {
  ASSERT_EQ(reader.tensors(), tensors.infos);
  for (size_t i = 0; i < tensors.infos.size(); ++i) {
    const auto& want = tensors.bytes[i];
    ASSERT_EQ(contents(reader, i), want) << tensors.infos[i].name;
    const auto mapped = reader.mapped(i);
    if (!mapped.empty()) {
      EXPECT_TRUE(std::equal(want.begin(), want.end(), mapped.begin()));
    }
    if (want.empty()) continue;
    const size_t from = random() % want.size(), size = random() % (want.size() - from + 1);
    std::vector<std::byte> part(size);
    reader.read(i, from, part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), want.begin() + static_cast<long>(from)));
  }
}

}  // namespace cria::test
