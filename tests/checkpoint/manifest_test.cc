#include "checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file_sums.h"

namespace cria {
namespace {

constexpr std::string_view kBody =
    R"({"format":"cria training checkpoint","version":1,"step":STEP,"config_sha256":"ab",)"
    R"("topology":{"dp":1,"tp":1,"pp":1},"groups":{"weights":"w"},"block_bytes":4194304,)"
    R"("files":{"w":{"size":8,"sha256":"cd","crc32c":[SUM]}},"state":{}})";

// A manifest whose own sum is right.
Manifest parse_with(const std::string& step, const std::string& sum) {
  std::string body(kBody);
  body.replace(body.find("STEP"), 4, step);
  body.replace(body.find("SUM"), 3, sum);
  return parse_manifest(with_own_sum(body), "manifest.json");
}

TEST(Manifest, TakesWholeNumbers) {
  const Manifest m = parse_with("3", "4294967295");
  EXPECT_EQ(m.step, 3);
  EXPECT_THAT(m.files.at("w").blocks, testing::ElementsAre(4294967295U));
}

TEST(Manifest, RefusesNumbersThatDoNotFit) {
  for (const char* step : {"1.5", "-1", "1e300", "9223372036854775808", "\"3\""})
    EXPECT_THROW(parse_with(step, "1"), FormatError) << step;
  for (const char* sum : {"1.5", "-1", "4294967296", "1e300", "null"})
    EXPECT_THROW(parse_with("3", sum), FormatError) << sum;
}

}  // namespace
}  // namespace cria
