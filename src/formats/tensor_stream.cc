#include "formats/tensor_stream.h"

#include <algorithm>
#include <unordered_set>

#include "base/error.h"

namespace cria {

TensorStream::TensorStream(std::vector<TensorInfo> infos) : infos_(std::move(infos)) {
  skip_empty();
}

void TensorStream::skip_empty() {
  while (current_ < infos_.size() &&
         done_ == static_cast<uint64_t>(infos_[current_].size_bytes())) {
    ++current_;
    done_ = 0;
  }
}

std::span<const std::byte> TensorStream::take(std::span<const std::byte>& bytes, uint64_t limit) {
  check(current_ < infos_.size(), "no more bytes than the tensors have");
  const uint64_t left = static_cast<uint64_t>(infos_[current_].size_bytes()) - done_;
  const auto piece = bytes.first(std::min<uint64_t>({left, limit, bytes.size()}));
  bytes = bytes.subspan(piece.size());
  done_ += piece.size();
  skip_empty();
  return piece;
}

void TensorStream::check_complete() const {
  check(current_ == infos_.size(), "all tensors are written before commit");
}

void check_writable(const std::vector<TensorInfo>& infos, std::string_view format,
                    std::string_view path) {
  std::unordered_set<std::string_view> names;
  for (const TensorInfo& info : infos) {
    try {
      validate_tensor(info, format, path);
    } catch (const FormatError& e) {
      throw UsageError(e.what());
    }
    require(names.insert(info.name).second, "{}: {}: tensor \"{}\" is to be written twice", format,
            path, escaped(info.name));
  }
}

}  // namespace cria
