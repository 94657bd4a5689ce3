// The way back of compressed_tensors.cc: blocks apart, into whole numbers and scales.
#include <cstring>

#include "base/error.h"
#include "formats/compressed_tensors.h"
#include "formats/tensor_stream.h"
#include "tensor/open_block.h"

namespace cria {
namespace {

/// Shapes come first: their 8-byte numbers then lie at multiples of 8, which some readers want.
std::vector<TensorInfo> all_parts(const std::vector<TensorInfo>& tensors) {
  std::vector<TensorInfo> shapes, others;
  for (const TensorInfo& t : tensors)
    for (TensorInfo& part : stored_parts(t))
      (is_int_group(t.dtype) && part.dtype == DType::i64 ? shapes : others)
          .push_back(std::move(part));
  shapes.insert(shapes.end(), others.begin(), others.end());
  return shapes;
}

class CompressedWriter : public TensorWriter {
 public:
  CompressedWriter(const std::string& path, const std::vector<TensorInfo>& infos,
                   const SafetensorsMetadata& metadata)
      : stream_(infos), file_(make_safetensors_writer(path, all_parts(infos), metadata)) {
    for (const TensorInfo& t : infos)
      if (is_int_group(t.dtype)) file_->write(std::as_bytes(std::span(t.shape)));
  }

  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      check(stream_.current() < stream_.infos().size(), "no more bytes than the tensors have");
      const TensorInfo& info = stream_.infos()[stream_.current()];
      const uint64_t begin = stream_.done();
      const auto piece = stream_.take(bytes);
      if (!is_int_group(info.dtype)) {
        file_->write(piece);
        continue;
      }
      take_apart(info.dtype, piece);
      if (begin + piece.size() < static_cast<uint64_t>(info.size_bytes())) continue;
      file_->write(std::as_bytes(std::span(scales_)));
      scales_.clear();
    }
  }
  void commit() override {
    stream_.check_complete();
    file_->commit();
  }

 private:
  void take_apart(DType type, std::span<const std::byte> blocks) {
    const auto block = static_cast<size_t>(block_bytes(type)), numbers = block - sizeof(float);
    check(blocks.size() % block == 0, "whole blocks are written");
    numbers_.resize(blocks.size() / block * numbers);
    for (size_t b = 0; b < blocks.size() / block; ++b) {
      float scale = 0;
      std::memcpy(&scale, blocks.data() + b * block, sizeof(float));
      scales_.emplace_back(scale);
      check(static_cast<float>(scales_.back()) == scale, "a scale is a number that a bf16 holds");
      std::memcpy(numbers_.data() + b * numbers, blocks.data() + b * block + sizeof(float),
                  numbers);
    }
    file_->write(numbers_);
  }

  TensorStream stream_;
  std::unique_ptr<TensorWriter> file_;
  std::vector<std::byte> numbers_;
  std::vector<bf16> scales_;  // of the current tensor so far
};

}  // namespace

std::vector<TensorInfo> stored_parts(const TensorInfo& tensor) {
  if (!is_int_group(tensor.dtype)) return {tensor};
  check(tensor.shape.size() == 2, "matrices are stored in groups");
  const int64_t rows = tensor.shape[0], cols = tensor.shape[1];
  const int64_t bits = int_group_bits(tensor.dtype);
  return {{tensor.name + "_packed", DType::i32, {rows, cols * bits / 32}},
          {tensor.name + "_scale", DType::bf16, {rows, cols / block_elements(tensor.dtype)}},
          {tensor.name + "_shape", DType::i64, {2}}};
}

std::unique_ptr<TensorWriter> make_compressed_writer(const std::string& path,
                                                     const std::vector<TensorInfo>& infos,
                                                     const SafetensorsMetadata& metadata) {
  return std::make_unique<CompressedWriter>(path, infos, metadata);
}

}  // namespace cria
