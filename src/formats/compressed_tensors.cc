#include "formats/compressed_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "base/error.h"
#include "formats/element_cast.h"

namespace cria {
namespace {

constexpr std::string_view kPacked = "_packed", kScale = "_scale", kShape = "_shape",
                           kZeroPoint = "_zero_point", kOrder = "_g_idx";

/// A matrix of the file.
struct Matrix {
  size_t numbers, scales;  // the tensors that hold them
  int64_t shared = 0;      // columns that share a scale
  bool is_signed = false;  // bytes are signed; else their zero is in the middle
};

class CompressedReader : public TensorReader {
 public:
  CompressedReader(std::shared_ptr<const TensorReader> files, std::vector<CompressedGroup> config)
      : files_(std::move(files)), config_(std::move(config)) {
    const std::vector<TensorInfo>& stored = files_->tensors();
    std::set<size_t> taken;
    std::vector<TensorInfo> infos;
    const auto take = [&](const std::string& name) {
      const auto index = files_->find(name);
      if (index) taken.insert(*index);
      return index;
    };
    for (size_t i = 0; i < stored.size(); ++i) {
      const TensorInfo& t = stored[i];
      const bool packed = t.name.ends_with(std::string(".weight").append(kPacked));
      if (!packed && !(t.name.ends_with(".weight") && t.dtype == DType::i8)) continue;
      const std::string name = packed ? t.name.substr(0, t.name.size() - kPacked.size()) : t.name;
      taken.insert(i);
      infos.push_back(put_together(name, i, packed));
      for (const std::string_view part : {kScale, kShape}) take(name + std::string(part));
    }
    for (size_t i = 0; i < stored.size(); ++i) {
      if (taken.contains(i)) continue;
      infos.push_back(stored[i]);
      matrices_.push_back({.numbers = i});
    }
    set_tensors(std::move(infos), stored.empty() ? "" : files_->path_of(0));
  }

  [[nodiscard]] std::string path_of(size_t index) const override {
    return files_->path_of(matrices_[index].numbers);
  }
  [[nodiscard]] std::span<const std::byte> mapped(size_t index) const override {
    const Matrix& m = matrices_[index];
    return m.shared == 0 ? files_->mapped(m.numbers) : std::span<const std::byte>();
  }
  void read(size_t index, uint64_t offset, std::span<std::byte> out) const override {
    const Matrix& m = matrices_[index];
    if (m.shared == 0) return files_->read(m.numbers, offset, out);
    const DType type = tensors()[index].dtype;
    const auto block = static_cast<size_t>(block_bytes(type)), numbers = block - sizeof(float);
    check(offset % block == 0 && out.size() % block == 0, "whole blocks are read");
    const uint64_t first = offset / block, count = out.size() / block;
    thread_local std::vector<std::byte> packed;
    packed.resize(count * numbers);
    files_->read(m.numbers, first * numbers, packed);
    const std::vector<float> scales = read_scales(index, first, count);
    const uint64_t first_scale = scale_of(index, first);
    for (uint64_t b = 0; b < count; ++b) {
      std::byte* const to = out.data() + b * block;
      std::memcpy(to, &scales[scale_of(index, first + b) - first_scale], sizeof(float));
      std::memcpy(to + sizeof(float), packed.data() + b * numbers, numbers);
      for (size_t i = 0; m.is_signed && i < numbers; ++i) to[sizeof(float) + i] ^= std::byte{0x80};
    }
  }

 private:
  /// Rows of whole scales follow one another, as do their numbers.
  [[nodiscard]] uint64_t scale_of(size_t index, uint64_t block) const {
    return block * static_cast<uint64_t>(block_elements(tensors()[index].dtype)) /
           static_cast<uint64_t>(matrices_[index].shared);
  }

  /// Those of blocks [first, first + count).
  [[nodiscard]] std::vector<float> read_scales(size_t index, uint64_t first, uint64_t count) const {
    const TensorInfo& info = files_->tensors()[matrices_[index].scales];
    const uint64_t begin = scale_of(index, first);
    std::vector<float> scales(count == 0 ? 0 : scale_of(index, first + count - 1) + 1 - begin);
    const auto bytes = static_cast<size_t>(block_bytes(info.dtype));
    std::vector<std::byte> stored(scales.size() * bytes);
    files_->read(matrices_[index].scales, begin * bytes, stored);
    to_f32(info.dtype, stored, scales);
    for (size_t i = 0; i < scales.size(); ++i)
      require<FormatError>(
          std::isfinite(scales[i]),
          "compressed-tensors: {}: \"{}\": scale {} is {}, expected a finite number",
          files_->path_of(matrices_[index].scales), escaped(info.name, 200), begin + i, scales[i]);
    return scales;
  }

  template <class... Args>
  void expect(bool ok, size_t part, fmt::format_string<Args...> message, Args&&... args) const {
    if (ok) return;
    throw FormatError(fmt::format("compressed-tensors: {}: \"{}\" {}", files_->path_of(part),
                                  escaped(files_->tensors()[part].name, 200),
                                  fmt::format(message, std::forward<Args>(args)...)));
  }

  /// Rows and columns: of bytes those of the tensor, else what "weight_shape" says.
  [[nodiscard]] std::vector<int64_t> shape_of(const std::string& name, size_t numbers,
                                              bool packed) const {
    const TensorInfo& t = files_->tensors()[numbers];
    expect(t.shape.size() == 2 && t.elements() > 0, numbers, "is [{}], expected a matrix",
           fmt::join(t.shape, ", "));
    if (!packed) return t.shape;
    const auto index = files_->find(name + std::string(kShape));
    expect(index.has_value(), numbers, "has no \"{}{}\" beside it", escaped(name, 200), kShape);
    const TensorInfo& shape = files_->tensors()[*index];
    expect(shape.dtype == DType::i64 && shape.shape == std::vector<int64_t>{2}, *index,
           "is {} [{}], expected I64 [2]", name_of(shape.dtype), fmt::join(shape.shape, ", "));
    std::vector<int64_t> dims(2);
    files_->read(*index, 0, std::as_writable_bytes(std::span(dims)));
    // A row of fewer numbers than fit into its words, down to one: more cannot be.
    expect(dims[0] == t.shape[0] && dims[1] >= 1 && dims[1] / 32 <= t.shape[1], *index,
           "says [{}], but there are {} rows of {} words", fmt::join(dims, ", "), t.shape[0],
           t.shape[1]);
    return dims;
  }

  TensorInfo put_together(const std::string& name, size_t numbers, bool packed) {
    const TensorInfo& t = files_->tensors()[numbers];
    for (const std::string_view part : {kZeroPoint, kOrder})
      expect(!files_->find(name + std::string(part)), numbers,
             "has a \"{}{}\" beside it, which is not read", escaped(name, 200), part);
    expect(t.dtype == (packed ? DType::i32 : DType::i8), numbers, "is {}, expected {}",
           name_of(t.dtype), packed ? "I32" : "I8");
    const std::vector<int64_t> shape = shape_of(name, numbers, packed);
    const auto scales = files_->find(name + std::string(kScale));
    expect(scales.has_value(), numbers, "has no \"{}{}\" beside it", escaped(name, 200), kScale);
    const TensorInfo& s = files_->tensors()[*scales];
    expect(s.dtype == DType::bf16 || s.dtype == DType::f16 || s.dtype == DType::f32, *scales,
           "is {}, expected BF16, F16 or F32", name_of(s.dtype));
    const int64_t cols = shape[1];
    for (const CompressedGroup& group : config_) {
      const int64_t shared = group.group_size > 0 ? group.group_size : cols;
      const int64_t words = cols % 32 == 0 ? cols / 32 * group.num_bits : -1;
      const bool numbers_fit = group.packed == packed && (!packed || t.shape[1] == words);
      const bool scales_fit = cols % shared == 0 && s.elements() == shape[0] * (cols / shared) &&
                              (s.shape == std::vector{shape[0], cols / shared} ||
                               (shared == cols && s.shape == std::vector{shape[0]}));
      const int64_t block = shared % 128 == 0 ? 128 : shared % 64 == 0 ? 64 : 32;
      if (!numbers_fit || !scales_fit || shared % block != 0) continue;
      matrices_.push_back({numbers, *scales, shared, !packed});
      return {name, *int_group_type(packed ? group.num_bits : 8, block), shape};
    }
    expect(false, numbers,
           "[{}] with scales [{}], for a matrix of [{}], is like no group of the config{}",
           fmt::join(t.shape, ", "), fmt::join(s.shape, ", "), fmt::join(shape, ", "),
           cols % 32 == 0 ? "" : "; columns come by 32");
    return {};
  }

  std::shared_ptr<const TensorReader> files_;
  std::vector<CompressedGroup> config_;
  std::vector<Matrix>
      matrices_;  // of each of our tensors; only `numbers` of those that pass through
};

}  // namespace

std::shared_ptr<const TensorReader> open_compressed(std::shared_ptr<const TensorReader> files,
                                                    std::vector<CompressedGroup> config) {
  return std::make_shared<CompressedReader>(std::move(files), std::move(config));
}

}  // namespace cria
