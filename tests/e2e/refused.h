// What every refusal must look like.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/temporary_folder.h"
#include "program.h"
#include "valid_files.h"

namespace cria::e2e {

constexpr double kSecondsToRefuse = 2 * kSlower;

/// Runs the words ({x} = `bad`, {i} = the valid files, {o} = an empty folder for outputs) and expects the exit code, one
/// line of the agreed form on stderr, nothing on stdout, no output, and an answer soon.
inline void expect_refused(const std::string& words, int exit, const std::string& bad = {}) {
  const TemporaryFolder output = TemporaryFolder::in_memory();
  const Outcome got = run(words_of(words, bad, valid_files(), output.path()), output.path());
  SCOPED_TRACE(words);
  EXPECT_EQ(got.exit, exit) << got.err;
  EXPECT_EQ(std::count(got.err.begin(), got.err.end(), '\n'), 1) << got.err;
  EXPECT_TRUE(got.err.starts_with("error: ") && got.err.ends_with("\n")) << got.err;
  EXPECT_LE(got.err.size(), 512U);
  // Programs that train tell their steps on stdout.
  const bool tells = words.starts_with("run") || words.starts_with("finetune");
  EXPECT_TRUE(tells || got.out.empty()) << got.out;
  EXPECT_LT(got.seconds, kSecondsToRefuse);
  EXPECT_TRUE(std::filesystem::is_empty(output.path()))
      << "left behind: " << std::filesystem::directory_iterator(output.path())->path();
}

}  // namespace cria::e2e
