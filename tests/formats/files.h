// What tests of file formats share: fixtures, scratch folders, whole files, random values.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/temporary_folder.h"

namespace cria::test {

inline std::string fixture(const std::string& name) {
  return std::string(CRIA_FIXTURES_DIR) + "/" + name;
}
/// Ends the test as skipped, visibly, where the fixtures are not at hand.
#define CRIA_NEED_FIXTURES()                                       \
  if (!std::filesystem::is_directory(CRIA_FIXTURES_DIR)) {         \
    GTEST_SKIP() << "no fixtures folder at " << CRIA_FIXTURES_DIR; \
  }

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void spew(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(out.good()) << path;
}
class Scratch : public TemporaryFolder {
 public:
  [[nodiscard]] std::string path(const std::string& name) const { return *this / name; }
};

inline std::span<const std::byte> as_span(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// The message of the FormatError that `body` must throw.
template <class Body>
std::string format_error(Body&& body) {
  try {
    body();
  } catch (const FormatError& e) {
    return e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << "expected a FormatError, found: " << e.what();
    return e.what();
  }
  ADD_FAILURE() << "expected a FormatError, nothing was thrown";
  return {};
}

}  // namespace cria::test
