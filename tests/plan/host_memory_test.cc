#include "plan/host_memory.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/temporary_folder.h"
#include "tensor/tensor.h"

namespace cria {
namespace {

TEST(HostMemory, PeakGrowsWithWhatIsTouched) {
  PeakMemory peak;
  peak.look();
  const int64_t before = peak.bytes();
  ASSERT_GT(before, 0);
  constexpr int64_t kBytes = 64 << 20;
  {
    Tensor block(DType::u8, 1, kBytes);
    std::memset(block.bytes().data(), 1, block.size_bytes());
  }
  peak.look();
  EXPECT_GE(peak.bytes(),
            before + kBytes / 2);  // some of it may have been held and given back before
}

TEST(HostMemory, PagesOfFilesAreNotCounted) {
  const TemporaryFolder folder;
  constexpr size_t kBytes = 32 << 20;
  write_file(folder / "x", std::string(kBytes, 'x'));
  PeakMemory peak;
  peak.look();
  const int64_t before = peak.bytes();
  {
    const MappedFile file(folder / "x");
    int64_t sum = 0;
    for (const std::byte b : file.bytes()) sum += static_cast<int64_t>(b);
    EXPECT_EQ(sum, static_cast<int64_t>(kBytes) * 'x');
    peak.look();
  }
  EXPECT_LT(peak.bytes(), before + int64_t{kBytes} / 2);
  peak.files_were_unmapped();
  peak.look();
  EXPECT_LT(peak.bytes(), before + int64_t{kBytes} / 2);
}

TEST(HostMemory, SomethingIsAvailable) { EXPECT_GT(available_memory(), 0); }

TEST(HostMemory, SizesHaveUnits) {
  EXPECT_EQ(parse_bytes("64GB", "--x"), int64_t{64} << 30);
  EXPECT_EQ(parse_bytes("64GiB", "--x"), int64_t{64} << 30);
  EXPECT_EQ(parse_bytes("1.5MB", "--x"), 3 << 19);
  EXPECT_EQ(parse_bytes("1000000", "--x"), 1000000);
  for (const char* bad : {"", "GB", "64 GB", "64gb", "-1GB", "0", "1e30GB", "nan", "inf", "64GBx"})
    EXPECT_THROW(parse_bytes(bad, "--x"), UsageError) << bad;
}

}  // namespace
}  // namespace cria
