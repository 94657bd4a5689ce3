// SHA-256 through OpenSSL, for fingerprints of tokenizers, data and checkpoint files.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace cria {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept = default;
  void add(std::span<const std::byte> bytes);
  /// 64 lower-case hex digits; the object is spent afterwards.
  std::string hex();

 private:
  struct Free {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, Free> context_;
};

std::string sha256_hex(std::span<const std::byte> bytes);

}  // namespace cria
