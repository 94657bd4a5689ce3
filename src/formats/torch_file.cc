#include "formats/torch_file.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"

namespace cria {
namespace {

[[noreturn]] void fail(const std::string& path, const ZipRecord* at, std::string reason,
                       std::string expected = {}, std::string found = {}) {
  throw FormatError(describe({.what = "read PyTorch file",
                              .path = path,
                              .offset = at == nullptr ? -1 : static_cast<int64_t>(at->offset),
                              .reason = std::move(reason),
                              .expected = std::move(expected),
                              .found = std::move(found)}));
}

bool is_contiguous(const PickleTensor& t) {
  int64_t step = 1;
  for (size_t i = t.shape.size(); i-- > 0;) {
    if (t.shape[i] != 1 && t.strides[i] != step) return false;
    step *= t.shape[i];
  }
  return true;
}

// Walks a window's elements in C order from any start.
class Odometer {
 public:
  Odometer(const PickleTensor& t, uint64_t start) : t_(t), index_(t.shape.size()) {
    position_ = t.offset;
    for (size_t i = t.shape.size(); i-- > 0;) {
      const auto dim = static_cast<uint64_t>(t.shape[i]);
      index_[i] = start % dim;
      start /= dim;
      position_ += index_[i] * static_cast<uint64_t>(t.strides[i]);
    }
  }
  /// In elements of the storage.
  [[nodiscard]] uint64_t position() const { return position_; }
  void advance() {
    for (size_t i = index_.size(); i-- > 0;) {
      position_ += static_cast<uint64_t>(t_.strides[i]);
      if (++index_[i] < static_cast<uint64_t>(t_.shape[i])) return;
      position_ -= index_[i] * static_cast<uint64_t>(t_.strides[i]);
      index_[i] = 0;
    }
  }

 private:
  const PickleTensor& t_;
  std::vector<uint64_t> index_;
  uint64_t position_ = 0;
};

}  // namespace

std::unique_ptr<TorchReader> open_torch(const std::string& path, bool verify_sums) {
  auto file = std::make_unique<MappedFile>(path);
  auto reader = std::make_unique<TorchReader>(file->bytes(), path, verify_sums);
  reader->file_ = std::move(file);
  return reader;
}

TorchReader::TorchReader(std::span<const std::byte> bytes, const std::string& path,
                         bool verify_sums)
    : zip_(bytes, path, verify_sums) {
  const ZipRecord* order = zip_.find("byteorder");
  if (order != nullptr && text_of(zip_.contents(*order)) != "little")
    fail(path, order, "unknown byte order", "little", escaped(text_of(zip_.contents(*order))));
  const ZipRecord* record = zip_.find("data.pkl");
  if (record == nullptr) fail(path, nullptr, "no record data.pkl, so not saved by torch.save");
  const Pickle pickle = parse_pickle(zip_.contents(*record), path, record->offset);
  check_storages(pickle);
  std::vector<TensorInfo> infos = collect(pickle);
  uint64_t total = 0;  // 2^62 each at most, so a sum of two cannot overflow
  for (const TensorInfo& info : infos) {
    validate_tensor(info, "read PyTorch file", path);
    total += static_cast<uint64_t>(info.size_bytes());
    if (total > 2 * bytes.size())
      fail(path, record, "its tensors are far larger than the file",
           fmt::format("at most {} bytes", 2 * bytes.size()), std::to_string(total));
  }
  set_tensors(std::move(infos), path);
}

void TorchReader::check_storages(const Pickle& pickle) {
  for (const PickleStorage& s : pickle.storages) {
    const ZipRecord* record = zip_.find(fmt::format("data/{}", s.key));
    if (record == nullptr) fail(zip_.path(), nullptr, fmt::format("no record data/{}", s.key));
    const auto size = checked_mul(s.elements, static_cast<uint64_t>(block_bytes(s.dtype)));
    if (size != record->size)
      fail(zip_.path(), record, fmt::format("record data/{} has another size", s.key),
           fmt::format("{} x {}", s.elements, name_of(s.dtype)),
           fmt::format("{} bytes", record->size));
    storages_.push_back(record);
  }
}

std::vector<TensorInfo> TorchReader::collect(const Pickle& pickle) {
  const auto* root = std::get_if<PickleDict>(&pickle.values[pickle.root]);
  const ZipRecord* record = zip_.find("data.pkl");
  if (root == nullptr) fail(zip_.path(), record, "not a state dict", "a dict of tensors");
  std::vector<TensorInfo> infos;
  for (size_t i = 0; i < root->items.size(); i += 2) {
    const PickleValue& key = pickle.values[root->items[i]];
    const auto* name = std::get_if<std::string_view>(&key);
    const auto* ref = std::get_if<PickleTensorRef>(&pickle.values[root->items[i + 1]]);
    if (name == nullptr || ref == nullptr) {
      const auto* number = std::get_if<int64_t>(&key);
      ignored_.push_back(number == nullptr ? std::string(*name) : std::to_string(*number));
      continue;
    }
    const PickleTensor& window = pickle.tensors[ref->index];
    infos.push_back({std::string(*name), pickle.storages[window.storage].dtype, window.shape});
    windows_.push_back(window);
  }
  if (infos.empty()) fail(zip_.path(), record, "no tensors in it", "a dict of tensors");
  return infos;
}

std::span<const std::byte> TorchReader::storage_of(size_t index) const {
  return zip_.contents(*storages_[windows_.at(index).storage]);
}

std::span<const std::byte> TorchReader::mapped(size_t index) const {
  const TensorInfo& info = tensors().at(index);
  if (info.elements() == 0 || !is_contiguous(windows_[index])) return {};
  const auto offset = windows_[index].offset * static_cast<uint64_t>(block_bytes(info.dtype));
  return storage_of(index).subspan(offset, static_cast<size_t>(info.size_bytes()));
}

void TorchReader::read(size_t index, uint64_t offset, std::span<std::byte> out) const {
  const TensorInfo& info = tensors().at(index);
  const auto total = static_cast<uint64_t>(info.size_bytes());
  check(offset <= total && out.size() <= total - offset, "reads stay in the tensor");
  if (out.empty()) return;
  if (const auto bytes = mapped(index); !bytes.empty()) {
    std::memcpy(out.data(), bytes.subspan(offset, out.size()).data(), out.size());
    return;
  }
  const auto storage = storage_of(index);
  const auto size = static_cast<uint64_t>(block_bytes(info.dtype));
  Odometer at(windows_[index], offset / size);
  uint64_t inside = offset % size;  // where in the first element the range begins
  while (!out.empty()) {
    const auto part = storage.subspan(at.position() * size + inside,
                                      std::min<uint64_t>(size - inside, out.size()));
    std::memcpy(out.data(), part.data(), part.size());
    out = out.subspan(part.size());
    inside = 0;
    at.advance();
  }
}

}  // namespace cria
