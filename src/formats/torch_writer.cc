#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "formats/torch_file.h"

namespace cria {
namespace {

std::string_view storage_kind(const TensorInfo& info, const std::string& path) {
  switch (info.dtype) {
    case DType::f64:
      return "DoubleStorage";
    case DType::f32:
      return "FloatStorage";
    case DType::f16:
      return "HalfStorage";
    case DType::bf16:
      return "BFloat16Storage";
    case DType::i64:
      return "LongStorage";
    case DType::i32:
      return "IntStorage";
    case DType::i16:
      return "ShortStorage";
    case DType::i8:
      return "CharStorage";
    case DType::u8:
      return "ByteStorage";
    case DType::boolean:
      return "BoolStorage";
    default:
      break;
  }
  throw UsageError(
      fmt::format("write PyTorch file: {}: tensor \"{}\": PyTorch has no storage of {}", path,
                  escaped(info.name, 64), name_of(info.dtype)));
}

// Opcodes as in docs/formats/pytorch.md; no memo, so every value is spelled out.
class PickleWriter {
 public:
  void raw(std::string_view opcodes) { out_ += opcodes; }
  void global(std::string_view module, std::string_view name) {
    out_ += fmt::format("c{}\n{}\n", module, name);
  }
  void text(std::string_view s) {
    out_ += 'X';
    little(s.size(), 4);
    out_ += s;
  }
  void integer(int64_t value) {
    out_ += "\x8a\x08";
    little(static_cast<uint64_t>(value), 8);
  }
  void tuple(const std::vector<int64_t>& values) {
    out_ += '(';
    for (const int64_t v : values) integer(v);
    out_ += 't';
  }
  void ordered_dict() {
    global("collections", "OrderedDict");
    out_ += ")R";
  }
  [[nodiscard]] const std::string& bytes() const { return out_; }

 private:
  void little(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out_ += static_cast<char>(value >> (8 * i) & 0xff);
  }
  std::string out_;
};

std::vector<int64_t> contiguous_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;)
    strides[i - 1] = strides[i] * std::max<int64_t>(shape[i], 1);
  return strides;
}

std::string make_pickle(const std::vector<TensorInfo>& infos, const std::string& path) {
  PickleWriter p;
  p.raw("\x80\x02");
  p.ordered_dict();
  p.raw("(");
  for (size_t i = 0; i < infos.size(); ++i) {
    const TensorInfo& info = infos[i];
    p.text(info.name);
    p.global("torch._utils", "_rebuild_tensor_v2");
    p.raw("((");
    p.text("storage");
    p.global("torch", storage_kind(info, path));
    p.text(std::to_string(i));
    p.text("cpu");
    p.integer(info.elements());
    p.raw("tQ");
    p.integer(0);
    p.tuple(info.shape);
    p.tuple(contiguous_strides(info.shape));
    p.raw("\x89");  // needs no gradient
    p.ordered_dict();
    p.raw("tR");
  }
  p.raw("u.");
  return p.bytes();
}

class TorchWriter : public TensorWriter {
 public:
  TorchWriter(const std::string& path, const std::string& pickle, std::vector<TensorInfo> infos)
      : file_(path), zip_(file_, "archive"), infos_(std::move(infos)) {
    zip_.add("data.pkl", pickle);
    zip_.add("byteorder", "little");
    begin_next();
  }

  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      check(next_ > 0 && left_ > 0, "no more bytes are written than the tensors have");
      const auto part = bytes.first(std::min<uint64_t>(bytes.size(), left_));
      zip_.write(part);
      bytes = bytes.subspan(part.size());
      left_ -= part.size();
      if (left_ == 0) begin_next();
    }
  }

  void commit() override {
    check(next_ == infos_.size() && left_ == 0, "all tensors are written before commit");
    zip_.add("version", "3\n");
    zip_.finish();
    file_.commit();
  }

 private:
  // Empty tensors are complete as soon as they begin.
  void begin_next() {
    while (left_ == 0 && next_ < infos_.size()) {
      left_ = static_cast<uint64_t>(infos_[next_].size_bytes());
      zip_.begin(fmt::format("data/{}", next_), left_);
      ++next_;
    }
  }

  AtomicFile file_;
  ZipWriter zip_;
  std::vector<TensorInfo> infos_;
  size_t next_ = 0;
  uint64_t left_ = 0;
};

}  // namespace

std::unique_ptr<TensorWriter> make_torch_writer(const std::string& path,
                                                std::vector<TensorInfo> infos) {
  std::unordered_set<std::string_view> names;
  for (const TensorInfo& info : infos) {
    validate_tensor(info, "write PyTorch file", path);
    require(names.insert(info.name).second, "write PyTorch file: {}: tensor \"{}\" is there twice",
            path, escaped(info.name, 64));
  }
  const std::string pickle = make_pickle(infos, path);
  return std::make_unique<TorchWriter>(path, pickle, std::move(infos));
}

}  // namespace cria
