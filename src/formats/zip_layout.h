// Signatures and sizes of zip's structures, shared by reader and writer. All numbers little-endian.
#pragma once

#include <cstdint>

namespace cria::zip {

constexpr uint32_t kLocal = 0x04034b50;
constexpr uint32_t kCentral = 0x02014b50;
constexpr uint32_t kEnd = 0x06054b50;
constexpr uint32_t kEnd64 = 0x06064b50;
constexpr uint32_t kLocator64 = 0x07064b50;
constexpr uint64_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22;
constexpr uint64_t kEnd64Size = 56, kLocator64Size = 20;
constexpr uint16_t kExtra64 = 0x0001;                       // 64-bit sizes and offset
constexpr uint16_t kExtraPadding = 0x4246;                  // "FB", as PyTorch names its padding
constexpr uint16_t kSizesFollow = 1 << 3, kUtf8 = 1 << 11;  // flags
constexpr uint32_t kIn64 = 0xffffffff;                      // "look into the 64-bit field"

}  // namespace cria::zip
