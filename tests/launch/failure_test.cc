// A rank, mpirun or the launcher dies: everything goes within seconds, and the cause is named.
#include <gmock/gmock.h>

#include "launched.h"

namespace cria {
namespace {

using test::Launched;
using test::slurp;
using test::within;
using test::write_script;
using testing::HasSubstr;
using namespace std::chrono_literals;

constexpr int kRanks = 3;

// It leaves what a killed rank of Open MPI leaves: shared memory named after host, user, job and rank.
// $1: what to do on SIGTERM (save: end with 75; ignore). Rank $2 ends with exit code $3 after half a second.
constexpr auto kProgram = R"(r=$OMPI_COMM_WORLD_RANK
case $1 in
  save) trap 'echo saved; exit 75' TERM ;;
  ignore) trap '' TERM ;;
esac
shm=/dev/shm/vader_segment.$(uname -n).$(id -u).$(printf %x $PMIX_NAMESPACE).$r
: >$shm
echo $shm >>"$(dirname "$0")/leftovers"
echo $OMPI_MCA_orte_jobfam_session_dir >>"$(dirname "$0")/leftovers"
echo $$ >"$(dirname "$0")/rank_$r.tmp"; mv "$(dirname "$0")/rank_$r.tmp" "$(dirname "$0")/rank_$r.pid"
echo "rank $r works"
[ "$r" = "$2" ] && { sleep 0.5; echo 'error: it hurts'; exit $3; }
while :; do sleep 0.05; done)";

class Failure : public testing::Test {
 protected:
  void SetUp() override {
    if (find_program("mpirun", false).empty()) GTEST_SKIP() << "no mpirun in PATH";
    program_ = write_script(folder_, "p.sh", kProgram);
  }
  std::vector<std::string> words(const std::vector<std::string>& more) {
    std::vector<std::string> all = {
        "launch", "--nproc", std::to_string(kRanks), "--log_dir", "logs", "--", program_};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  /// Every process gone within the time, and nothing of Open MPI left.
  void expect_all_gone(std::chrono::milliseconds time = 5s) {
    const auto start = std::chrono::steady_clock::now();
    const bool gone = within(time, [&] { return test::processes_of(folder_).empty(); });
    EXPECT_TRUE(gone) << test::processes_of(folder_).size() << " processes left";
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    RecordProperty("seconds_until_all_gone", std::to_string(took.count()));
    std::ifstream leftovers(folder_ / "leftovers");
    int lines = 0;
    for (std::string path; std::getline(leftovers, path); ++lines)
      EXPECT_TRUE(within(2s, [&] { return !std::filesystem::exists(path); })) << path;
    EXPECT_GE(lines, 2 * kRanks);
  }
  /// So that the next run's ranks are waited for.
  void forget_ranks() {
    for (int r = 0; r < kRanks; ++r)
      std::filesystem::remove(folder_ / ("rank_" + std::to_string(r) + ".pid"));
  }
  std::string scheduler() { return slurp(folder_ / "logs/scheduler.log"); }

  TemporaryFolder folder_;
  std::string program_;
};

TEST_F(Failure, ARankThatFailsEndsAllAndGivesItsExitCode) {
  Launched run(folder_, words({"save", "1", "8"}));
  ASSERT_TRUE(run.started(kRanks));
  const auto rank = run.rank_pid(1);
  EXPECT_EQ(run.wait(), 8);
  EXPECT_TRUE(test::processes_of(folder_).empty()) << "all are gone when the launcher returns";
  expect_all_gone();
  EXPECT_THAT(run.err(), HasSubstr("rank 1 on "));
  EXPECT_THAT(run.err(), HasSubstr("(process " + std::to_string(rank) +
                                   ") ended with exit code 8; all ranks are ended; its last words: "
                                   "error: it hurts"));
  EXPECT_EQ(slurp(folder_ / "logs/exit_code"), "8\n");
}

TEST_F(Failure, AKilledRankEndsAllEvenThoseThatIgnoreSigterm) {
  for (const int victim : {0, 2}) {
    Launched run(folder_, words({"ignore"}));
    ASSERT_TRUE(run.started(kRanks));
    kill(run.rank_pid(victim), SIGKILL);
    expect_all_gone();
    EXPECT_EQ(run.wait(), 6);
    EXPECT_THAT(run.err(), HasSubstr("error: rank " + std::to_string(victim) + " on "));
    EXPECT_THAT(run.err(), HasSubstr("was killed by SIGKILL"));
    forget_ranks();
  }
}

TEST_F(Failure, AStoppedRankGoesWithTheOneThatNoticed) {
  Launched run(folder_, words({"save", "0", "7"}));
  ASSERT_TRUE(run.started(kRanks));
  kill(run.rank_pid(1), SIGSTOP);
  kill(run.rank_pid(2), SIGSTOP);
  EXPECT_EQ(run.wait(), 7);
  expect_all_gone();
}

// Their work is done and they wait for each other in MPI's end, which has no deadline.
TEST_F(Failure, ARankThatStandsStillAtTheEndIsNamed) {
  program_ = write_script(folder_, "p.sh", R"(echo here 1 >/dev/fd/$CRIA_KEEPER_FD
[ "$OMPI_COMM_WORLD_RANK" = "$1" ] && kill -STOP $$
echo everywhere 1 >/dev/fd/$CRIA_KEEPER_FD
while :; do sleep 0.05; done)");
  for (const int victim : {0, 2}) {
    Launched run(folder_, words({std::to_string(victim)}));
    EXPECT_EQ(run.wait(), 7);
    EXPECT_TRUE(within(2s, [&] { return test::processes_of(folder_).empty(); }));
    EXPECT_THAT(run.err(), HasSubstr("error: rank " + std::to_string(victim) + " stalled"));
    EXPECT_THAT(run.err(), HasSubstr("its last words: error: not ended 1 s after its work was "
                                     "done"));
  }
}

// One that needs longer than it may, though nobody stopped it.
TEST_F(Failure, AProgramThatDoesNotEndIsNamedToo) {
  program_ = write_script(folder_, "p.sh", R"([ "$OMPI_COMM_WORLD_RANK" = 1 ] || exit 0
echo everywhere 1 >/dev/fd/$CRIA_KEEPER_FD
while :; do sleep 0.05; done)");
  Launched run(folder_, words({}));
  EXPECT_EQ(run.wait(), 7);
  EXPECT_THAT(run.err(), HasSubstr("error: rank 1 stalled"));
}

TEST_F(Failure, TheFirstSigtermLetsTheRanksSave) {
  for (const int signal : {SIGTERM, SIGINT}) {
    Launched run(folder_, words({"save"}));
    ASSERT_TRUE(run.started(kRanks));
    ASSERT_TRUE(within(5s, [&] {
      return scheduler().find("rank 0 runs") != std::string::npos &&
             scheduler().find("rank 1 runs") != std::string::npos &&
             scheduler().find("rank 2 runs") != std::string::npos;
    }));
    run.signal(signal);
    EXPECT_EQ(run.wait(), 75) << run.err();
    for (int r = 0; r < kRanks; ++r) {
      EXPECT_THAT(slurp(folder_ / ("logs/worker_" + std::to_string(r) + ".log")),
                  HasSubstr("saved"));
    }
    forget_ranks();
    expect_all_gone();
  }
}

TEST_F(Failure, TheSecondSigtermKills) {
  Launched run(folder_, words({"ignore"}));
  ASSERT_TRUE(run.started(kRanks));
  run.signal(SIGTERM);
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(static_cast<int>(test::processes_of(folder_).empty()), 0);
  run.signal(SIGTERM);
  EXPECT_EQ(run.wait(), 128 + SIGTERM);
  expect_all_gone();
}

TEST_F(Failure, RanksDoNotOutliveAKilledLauncher) {
  for (const char* on_sigterm : {"ignore", "save"}) {
    Launched run(folder_, words({on_sigterm}));
    ASSERT_TRUE(run.started(kRanks));
    run.signal(SIGKILL);
    run.wait();
    expect_all_gone();
    forget_ranks();
  }
}

TEST_F(Failure, RanksDoNotOutliveAKilledMpirun) {
  Launched run(folder_, words({"ignore"}));
  ASSERT_TRUE(run.started(kRanks));
  for (const pid_t p : test::processes_of(folder_))
    if (slurp("/proc/" + std::to_string(p) + "/comm") == "mpirun\n") kill(p, SIGKILL);
  EXPECT_EQ(run.wait(), 6);
  expect_all_gone();
  EXPECT_THAT(run.err(), HasSubstr("mpirun was killed by SIGKILL"));
}

TEST_F(Failure, RanksDoNotOutliveTheirKilledKeeper) {
  Launched run(folder_, words({"ignore"}));
  ASSERT_TRUE(run.started(kRanks));
  const std::string stat = slurp("/proc/" + std::to_string(run.rank_pid(1)) + "/stat");
  kill(std::atoi(stat.c_str() + stat.rfind(')') + 4), SIGKILL);
  EXPECT_EQ(run.wait(), 6);
  expect_all_gone();
}

}  // namespace
}  // namespace cria
