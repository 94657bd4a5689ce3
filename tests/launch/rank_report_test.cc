#include "launch/rank_report.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/temporary_folder.h"

namespace cria {
namespace {

using Event = RankReport::Event;

TEST(RankReport, ComesBackAsItWasTold) {
  const RankReport told{Event::ended, 7, 4711, "node7", 0, 8, 0, "error: a b  c"};
  const auto heard = parse_report("cria-rank abc 7 4711 node7 ended 8 0 error: a b  c", "abc");
  ASSERT_TRUE(heard);
  EXPECT_EQ(report_line(*heard, "abc"), report_line(told, "abc"));
  EXPECT_EQ(heard->last_line, told.last_line);
  EXPECT_EQ(heard->exit_code, 8);
  EXPECT_TRUE(heard->failed());
}

TEST(RankReport, IsShorterThanAPipeTakesWhole) {
  const RankReport r{Event::ended,
                     65535,
                     INT64_MAX,
                     std::string(500, '\x01'),
                     0,
                     255,
                     64,
                     std::string(5000, '\xff')};
  const std::string line = report_line(r, std::string(32, 'f'));
  EXPECT_LT(line.size(), 1024U);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_TRUE(parse_report(line.substr(0, line.size() - 1), std::string(32, 'f')));
}

TEST(RankReport, RefusesWhatIsNoReportOfThisRun) {
  for (const char* line :
       {"", "cria-rank", "hello world", "cria-rank other 0 1 h started 9",
        "cria-rank abc -1 1 h started 9", "cria-rank abc x 1 h started 9", "cria-rank abc 0 1 h",
        "cria-rank abc 0 1 h started", "cria-rank abc 0 1 h started 4294967296",
        "cria-rank abc 0 1 h ended", "cria-rank abc 0 1 h ended 256 0 x",
        "cria-rank abc 0 1 h ended 0 65 x", "cria-rank abc 0 1 h went"})
    EXPECT_FALSE(parse_report(line, "abc")) << line;
  EXPECT_TRUE(parse_report("cria-rank abc 0 1 h started 9", "abc"));
}

TEST(RankReport, ARankThatWasToldToEndIsNoFailure) {
  const auto heard = parse_report("cria-rank abc 1 2 h told 0 15 x", "abc");
  ASSERT_TRUE(heard);
  EXPECT_FALSE(heard->failed());
  EXPECT_EQ(report_line(*heard, "abc"), "cria-rank abc 1 2 h told 0 15 x\n");
}

TEST(RankReport, StoppedAfterSavingIsNoFailure) {
  RankReport r{Event::ended, 0, 1, "h", 0, 75, 0, ""};
  EXPECT_FALSE(r.failed());
  r.signal = 15;
  EXPECT_TRUE(r.failed());
}

TEST(RanksWaitedFor, AreReadFromTheLineOfARankThatGaveUp) {
  const char* line =
      "error: run_llama3: rank 0: barrier number 1 of group dp (8 bytes) has waited 0.2 s for rank "
      "2, 13; x";
  EXPECT_EQ(ranks_waited_for(line), std::vector<int>({2, 13}));
  EXPECT_TRUE(ranks_waited_for("error: rank 3 has gone").empty());
  EXPECT_TRUE(ranks_waited_for("it has waited 1 s for rank x").empty());
}

TEST(LastErrorLine, IsTheLastThatTellsOfAnErrorElseTheLast) {
  const TemporaryFolder folder;
  EXPECT_EQ(last_error_line(folder / "none"), "");
  std::ofstream(folder / "log") << "start\nerror: first\nFatal ERROR here\ngoing down\n\n";
  EXPECT_EQ(last_error_line(folder / "log"), "Fatal ERROR here");
  std::ofstream(folder / "log") << "start\nstep 7\n\n";
  EXPECT_EQ(last_error_line(folder / "log"), "step 7");
  std::ofstream(folder / "log") << "error: long ago\n" << std::string(100000, 'x') << "\nend\n";
  EXPECT_EQ(last_error_line(folder / "log"), "end");
}

}  // namespace
}  // namespace cria
