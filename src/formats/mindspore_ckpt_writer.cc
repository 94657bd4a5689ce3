#include <zlib.h>

#include <unordered_set>

#include "base/bytes.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "formats/mindspore_ckpt.h"
#include "formats/tensor_stream.h"
#include "formats/wire.h"

namespace cria {
namespace {

// Everything of an entry that comes before its `content_size` bytes of content.
std::vector<std::byte> entry_head(std::string_view name, std::string_view type,
                                  std::span<const int64_t> dims, uint64_t content_size) {
  std::vector<std::byte> tensor;
  for (const int64_t d : dims) append_varint_field(tensor, 1, static_cast<uint64_t>(d));
  append_text_field(tensor, 2, type);
  append_bytes_header(tensor, 3, content_size);
  std::vector<std::byte> value;
  append_text_field(value, 1, name);
  append_bytes_header(value, 2, tensor.size() + content_size);
  append_bytes(value, tensor);
  std::vector<std::byte> entry;
  append_bytes_header(entry, 1, value.size() + content_size);
  append_bytes(entry, value);
  return entry;
}

class CheckpointWriter : public TensorWriter {
 public:
  CheckpointWriter(const std::string& path, std::vector<TensorInfo> infos,
                   MindsporeWriteOptions options)
      : stream_(std::move(infos)), options_(std::move(options)), file_(path, 0600) {}

  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      check(stream_.current() < stream_.infos().size(), "no more bytes than the tensors have");
      const uint64_t in_piece = stream_.done() % options_.piece_bytes;
      if (in_piece == 0) begin_piece();
      put(stream_.take(bytes, options_.piece_bytes - in_piece));
    }
  }

  void commit() override {
    stream_.check_complete();
    for (const MindsporeScalar& scalar : options_.scalars) put_scalar(scalar);
    if (options_.checksum) {
      std::vector<std::byte> trailer;
      append_bytes(trailer, raw_bytes("crc_num"));
      append_be(trailer, uint16_t{0});
      append_be(trailer, uint64_t{checksum_});
      file_.write(trailer);
    }
    file_.commit();
  }

 private:
  void put(std::span<const std::byte> bytes) {
    if (options_.checksum)
      checksum_ = static_cast<uint32_t>(
          crc32_z(checksum_, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
    file_.write(bytes);
  }
  void begin_piece() {
    const TensorInfo& info = stream_.infos()[stream_.current()];
    const uint64_t left = static_cast<uint64_t>(info.size_bytes()) - stream_.done();
    put(entry_head(info.name, mindspore_type_name(info.dtype), info.shape,
                   std::min(left, options_.piece_bytes)));
  }
  void put_scalar(const MindsporeScalar& scalar) {
    std::vector<std::byte> content;
    std::string_view type;
    std::vector<int64_t> dims;
    if (const auto* text = std::get_if<std::string>(&scalar.value)) {
      type = "str";
      dims = {0};
      for (size_t at = 0; at < text->size();)
        append_le(content, static_cast<uint32_t>(next_code_point(*text, at)));
    } else if (const auto* integer = std::get_if<int64_t>(&scalar.value)) {
      type = "Int64";
      append_le(content, *integer);
    } else if (const auto* real = std::get_if<float>(&scalar.value)) {
      type = "Float32";
      append_le(content, *real);
    } else {
      type = "Bool";
      append_le(content, static_cast<uint8_t>(std::get<bool>(scalar.value)));
    }
    put(entry_head(scalar.name, type, dims, content.size()));
    put(content);
  }

  TensorStream stream_;
  MindsporeWriteOptions options_;
  AtomicFile file_;
  uint32_t checksum_ = 0;
};

}  // namespace

std::unique_ptr<TensorWriter> make_mindspore_ckpt_writer(const std::string& path,
                                                         std::vector<TensorInfo> infos,
                                                         MindsporeWriteOptions options) {
  std::vector<TensorInfo> all = infos;
  for (const MindsporeScalar& scalar : options.scalars) {
    all.push_back({.name = scalar.name, .dtype = DType::i64});
    const auto* text = std::get_if<std::string>(&scalar.value);
    require(text == nullptr || !find_invalid_utf8(*text),
            "MindSpore checkpoint: {}: the text of \"{}\" is not UTF-8", path,
            escaped(scalar.name));
  }
  check_writable(all, "MindSpore checkpoint", path);
  for (const TensorInfo& info : infos) {
    require(!mindspore_type_name(info.dtype).empty() && info.elements() > 0,
            "MindSpore checkpoint: {}: tensor \"{}\" of type {} with {} elements cannot be stored",
            path, escaped(info.name), name_of(info.dtype), info.elements());
  }
  require(options.piece_bytes > 0 && options.piece_bytes <= uint64_t{1} << 30,
          "MindSpore checkpoint: pieces of {} bytes, expected at most 2^30", options.piece_bytes);
  return std::make_unique<CheckpointWriter>(path, std::move(infos), std::move(options));
}

}  // namespace cria
