// Generation with packed weights: the laws of decoding hold to the bit, and the numbers are those of plain weights.
#include <array>
#include <cmath>
#include <cstring>

#include "model/packed_weights.h"
#include "model/random_model.h"
#include "ops/close.h"
#include "tensor/open_block.h"

namespace cria::testing {
namespace {

/// A row of floats as blocks of q8_0: the largest number is 127 steps of the scale.
std::vector<std::byte> as_q8_0(std::span<const float> row) {
  std::vector<std::byte> blocks;
  for (size_t begin = 0; begin < row.size(); begin += 32) {
    float largest = 0;
    for (size_t k = begin; k < begin + 32; ++k) largest = std::max(largest, std::abs(row[k]));
    const f16 scale(largest / 127);
    blocks.resize(blocks.size() + 34);
    std::byte* const to = blocks.data() + blocks.size() - 34;
    std::memcpy(to, &scale, 2);
    for (size_t k = 0; k < 32; ++k)
      to[2 + k] = static_cast<std::byte>(
          static_cast<int>(std::lround(row[begin + k] / static_cast<float>(scale))));
  }
  return blocks;
}

/// As blocks of int4_g32: the largest number is 7 steps of the scale.
std::vector<std::byte> as_int4_g32(std::span<const float> row) {
  std::vector<std::byte> blocks(static_cast<size_t>(bytes_of(DType::int4_g32, std::ssize(row))));
  std::byte* to = blocks.data();
  for (size_t begin = 0; begin < row.size(); begin += 32, to += 20) {
    float largest = 0;
    for (size_t k = begin; k < begin + 32; ++k) largest = std::max(largest, std::abs(row[k]));
    const float scale = largest / 7;
    std::array<uint8_t, 32> numbers{};
    for (size_t k = 0; k < 32; ++k)
      numbers[k] = static_cast<uint8_t>(std::lround(row[begin + k] / scale) + 8);
    std::memcpy(to, &scale, 4);
    put_numbers(DType::int4_g32, numbers, to);
  }
  return blocks;
}

/// Packed copies of f32 weights, and what they stand for.
struct Both {
  PackedWeights packed;
  ParamArena plain;
};
Both packed_copy(const ParamArena& exact, DType type) {
  const LlamaConfig& config = exact.config();
  std::vector<DType> types;
  for (const Param& p : exact.params()) types.push_back(p.is_norm() ? DType::f32 : type);
  Both both{PackedWeights(config, types), ParamArena(config, DType::f32)};
  for (int64_t i = 0; i < std::ssize(exact.params()); ++i) {
    const Param& p = exact.params()[static_cast<size_t>(i)];
    for (int64_t r = 0; r < p.rows(); ++r) {
      const auto row = exact[i].row<float>(r);
      const auto to = both.plain[i].row<float>(r);
      if (p.is_norm()) {
        both.packed.put_rows(i, r, std::as_bytes(row));
        std::ranges::copy(row, to.begin());
      } else if (type != DType::bf16) {
        const auto blocks = type == DType::q8_0 ? as_q8_0(row) : as_int4_g32(row);
        both.packed.put_rows(i, r, blocks);
        ops::PackedMatrix one(type, 1, p.cols());
        one.put_rows(0, blocks);
        one.row(0, to);
      } else {
        std::vector<bf16> rounded;
        for (const float x : row) rounded.emplace_back(x);
        both.packed.put_rows(i, r, std::as_bytes(std::span(rounded)));
        for (size_t k = 0; k < rounded.size(); ++k) to[k] = static_cast<float>(rounded[k]);
      }
    }
  }
  return both;
}

class PackedDecoding : public ::testing::TestWithParam<DType> {
 protected:
  ThreadPool pool_{2};
  ops::Exec exec_{pool_};
  LlamaConfig config_ = block_config(true);
  Both weights_ = packed_copy(random_weights(config_, DType::f32, pool_), GetParam());
  std::vector<int32_t> ids_ = random_ids(700, config_.vocab_size, 3);
};
INSTANTIATE_TEST_SUITE_P(Types, PackedDecoding,
                         ::testing::Values(DType::bf16, DType::q8_0, DType::int4_g32),
                         [](const auto& p) { return std::string(name_of(p.param)); });

TEST_P(PackedDecoding, StepsGiveTheBitsOfAPrefill) {
  Decoder decoder(weights_.packed, DType::f32, exec_);
  KvCache steps(config_, DType::bf16);
  KvCache* const caches[] = {&steps};
  const std::span ids(ids_);
  Tensor have(DType::f32, 1, config_.vocab_size), want(DType::f32, 1, config_.vocab_size);
  decoder.prefill(ids.first(530), steps, have);
  for (size_t t = 530; t < 540; ++t) {
    decoder.step(ids.subspan(t, 1), caches, have);
    KvCache whole(config_, DType::bf16);
    decoder.prefill(ids.first(t + 1), whole, want);
    ASSERT_EQ(std::memcmp(have.bytes().data(), want.bytes().data(), have.size_bytes()), 0) << t;
  }
}

TEST_P(PackedDecoding, LogitsOfAllTokensAreThoseOfPrefills) {
  Decoder decoder(weights_.packed, DType::f32, exec_);
  KvCache cache(config_, DType::f32);
  const std::span ids(ids_);
  Tensor all(DType::f32, 50, config_.vocab_size), one(DType::f32, 1, config_.vocab_size);
  decoder.prefill_all(ids.first(50), cache, all);
  for (const size_t t : {0, 1, 17, 49}) {
    KvCache alone(config_, DType::f32);
    decoder.prefill(ids.first(t + 1), alone, one);
    EXPECT_EQ(std::memcmp(all.view().at(static_cast<int64_t>(t), 0), one.bytes().data(),
                          one.size_bytes()),
              0)
        << t;
  }
}

// bf16 weights lose nothing in a product. With blocks a number of x is off by 1 / 254 of its group's largest at most: of numbers
// that spread evenly round 0, the root of the mean square is 0.6 % of theirs. 14 products follow one another.
TEST_P(PackedDecoding, LogitsAreThoseOfThePlainWeights) {
  Decoder packed(weights_.packed, DType::f32, exec_);
  Decoder plain(config_, weights_.plain, DType::f32, exec_);
  KvCache a(config_, DType::f32), b(config_, DType::f32);
  Tensor have(DType::f32, 60, config_.vocab_size), want(DType::f32, 60, config_.vocab_size);
  packed.prefill_all(std::span(ids_).first(60), a, have);
  plain.prefill_all(std::span(ids_).first(60), b, want);
  EXPECT_LT(ops::relative_distance(have, want), GetParam() == DType::bf16 ? 1e-4 : 14 * 0.006);
}

// Heads of 12 and an MLP of 96: o_proj has 96 columns, of which 2 ranks get 48.
TEST(PackedParts, ColumnsAreDividedBetweenWholeBlocks) {
  const LlamaConfig config = block_config(true);
  ModelPart part = whole_model(config);
  part.tp = 2;
  part.tp_index = 1;
  std::vector<DType> types;
  for (const Param& p : part_params(config, part))
    types.push_back(p.is_norm() ? DType::f32 : DType::q8_0);
  try {
    const PackedWeights weights(config, part, types);
    FAIL() << "no error";
  } catch (const UsageError& e) {
    EXPECT_STREQ(
        e.what(),
        "weights: \"model.layers.0.self_attn.o_proj.weight\": 48 columns for each of 2 "
        "tensor-parallel ranks, expected a multiple of 32 for Q8_0; try: --weights bf16, or a "
        "model_parallel of 1");
  }
  for (DType& type : types)
    if (type == DType::q8_0) type = DType::bf16;
  EXPECT_FALSE(PackedWeights::refused_cut(config, part, types));
  const PackedWeights half(config, part, types);
  EXPECT_EQ(half.layer(0).o_proj.packed[0]->cols(), 48);
  EXPECT_EQ(half.layer(1).qkv_proj.rows(), (8 + 2 + 2) * 12 / 2);
}

}  // namespace
}  // namespace cria::testing
