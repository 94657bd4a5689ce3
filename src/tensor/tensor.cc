#include "tensor/tensor.h"

#include <sys/mman.h>

#include <cstring>

#include "base/checked.h"
#include "base/error.h"

namespace cria {

namespace {

template <class Byte, class V>
std::span<Byte> contiguous_bytes(V view) {
  check(view.contiguous(), "rows whose bytes are taken lie side by side");
  return {static_cast<Byte*>(view.data),
          static_cast<size_t>(bytes_of(view.dtype, view.elements()))};
}

}  // namespace

std::span<std::byte> bytes_of(View view) { return contiguous_bytes<std::byte>(view); }
std::span<const std::byte> bytes_of(ConstView view) {
  return contiguous_bytes<const std::byte>(view);
}

// mmap: zeroed lazily by the kernel, page aligned, large blocks on huge pages where allowed, and
// given back at once.
Tensor::Tensor(DType dtype, int64_t rows, int64_t cols, Memory* memory)
    : dtype_(dtype), rows_(rows), cols_(cols) {
  check(rows >= 0 && cols >= 0, "a tensor's sizes are not negative");
  const auto elements = checked_mul(static_cast<uint64_t>(rows), static_cast<uint64_t>(cols));
  const auto bytes =
      elements ? checked_mul(*elements, static_cast<uint64_t>(block_bytes(dtype))) : std::nullopt;
  if (bytes && *bytes == 0) return;
  if (bytes && memory != nullptr) {
    data_ = {static_cast<std::byte*>(memory->allocate(*bytes)), internal::Unmap{*bytes, memory}};
    return;
  }
  void* p = MAP_FAILED;
  if (bytes && *bytes < (uint64_t{1} << 47)) {
    p = mmap(nullptr, size_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  if (p == MAP_FAILED) {
    throw Error(ExitCode::memory, fmt::format("out of memory: a tensor of {} x {} {} elements",
                                              rows, cols, name_of(dtype)));
  }
  constexpr size_t huge_page = 2 << 20;
  if (size_bytes() >= huge_page) madvise(p, size_bytes(), MADV_HUGEPAGE);
  data_ = std::unique_ptr<std::byte, internal::Unmap>(static_cast<std::byte*>(p),
                                                      internal::Unmap{size_bytes()});
}

void internal::Unmap::operator()(std::byte* p) const {
  if (memory != nullptr) {
    memory->release(p);
  } else {
    munmap(p, size);
  }
}

Tensor Tensor::copy_to(Memory* memory) const {
  Tensor copy(dtype_, rows_, cols_, memory);
  if (size_bytes() == 0) return copy;
  Memory* const mine = this->memory();
  std::byte* const to = copy.data_.get();
  if (mine == memory && mine != nullptr) {
    mine->copy(to, data_.get(), size_bytes());
  } else if (mine != nullptr) {
    check(memory == nullptr, "a copy between devices goes by the host");
    mine->read(to, data_.get(), size_bytes());
  } else if (memory != nullptr) {
    memory->write(to, data_.get(), size_bytes());
  } else {
    std::memcpy(to, data_.get(), size_bytes());
  }
  return copy;
}

}  // namespace cria
