// What a launch does when all goes well, and what it refuses.
#include <gmock/gmock.h>

#include "launched.h"

namespace cria {
namespace {

using test::Launched;
using test::slurp;
using test::within;
using test::write_script;
using testing::HasSubstr;
using testing::Not;
using namespace std::chrono_literals;

class Launch : public testing::Test {
 protected:
  void SetUp() override {
    if (find_program("mpirun", false).empty()) GTEST_SKIP() << "no mpirun in PATH";
  }
  std::string log(int rank) {
    return slurp(folder_ / ("logs/worker_" + std::to_string(rank) + ".log"));
  }
  std::vector<std::string> words(int ranks, std::vector<std::string> more) {
    std::vector<std::string> all = {"launch", "--nproc", std::to_string(ranks), "--log_dir",
                                    "logs"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  TemporaryFolder folder_;
};

TEST_F(Launch, EveryRankKnowsItsPlaceAndHasItsLog) {
  const auto program = write_script(
      folder_, "p.sh",
      "echo \"$OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE: $1 $CRIA_THREADS\"; echo wrong >&2");
  make_folders(folder_ / "logs");
  std::ofstream(folder_ / "logs/worker_2.log") << "from an earlier run\n";
  Launched run(folder_, words(3, {"--threads_per_rank", "5", "--", program, "two words"}));
  EXPECT_EQ(run.wait(), 0) << run.err();
  for (int r = 0; r < 3; ++r) EXPECT_EQ(log(r), std::to_string(r) + " of 3: two words 5\nwrong\n");
  EXPECT_EQ(slurp(folder_ / "logs/exit_code"), "0\n");
  EXPECT_EQ(run.out(), log(0)) << "rank 0 is heard by default";
  EXPECT_THAT(run.err(), HasSubstr("/mpirun -n 3 "));
  EXPECT_THAT(slurp(folder_ / "logs/scheduler.log"), HasSubstr("/mpirun -n 3 "));
}

TEST_F(Launch, HostsAreToldWhatCarriesTheMessages) {
  const auto program = write_script(folder_, "p.sh", "echo \"by $CRIA_TRANSPORT\"");
  std::ofstream(folder_ / "hosts") << "localhost slots=2\n";
  const auto command = words(2, {"--hostfile", "hosts", "--", program});
  Launched said(folder_, command, {{"CRIA_TRANSPORT", "nccl"}});
  EXPECT_EQ(said.wait(), 0) << said.err();
  EXPECT_THAT(said.err(), HasSubstr(" -x CRIA_TRANSPORT "));
  EXPECT_EQ(log(1), "by nccl\n");
  Launched silent(folder_, command);
  EXPECT_EQ(silent.wait(), 0) << silent.err();
  EXPECT_THAT(silent.err(), Not(HasSubstr(" -x ")));
}

TEST_F(Launch, OneRankNeedsNoMpirun) {
  const auto program =
      write_script(folder_, "p.sh", "echo \"rank '$OMPI_COMM_WORLD_RANK'\"; exit 8");
  Launched run(folder_, words(1, {"--", program}), {{"PATH", "/nowhere"}});
  EXPECT_EQ(run.wait(), 8);
  EXPECT_EQ(log(0), "rank ''\n");
}

TEST_F(Launch, WithoutMpirunItSaysWhatToInstall) {
  const auto program = write_script(folder_, "p.sh", "exit 0");
  Launched run(folder_, words(2, {"--", program}), {{"PATH", "/nowhere"}});
  EXPECT_EQ(run.wait(), 2);
  EXPECT_THAT(run.err(), HasSubstr("openmpi-bin"));
}

TEST_F(Launch, RefusesWhatMakesNoSense) {
  const std::vector<std::vector<std::string>> wrong = {
      words(2, {}),
      words(2, {"--", "no-such-program"}),
      words(0, {"--", "true"}),
      words(2, {"--hostfile", "none", "--", "true"}),
      words(2, {"--restarts", "-1", "--", "true"}),
      words(2, {"--threads_per_rank", "4097", "--", "true"}),
  };
  for (const auto& w : wrong) {
    Launched run(folder_, w);
    EXPECT_EQ(run.wait(), 2) << w.back();
    EXPECT_THAT(run.err(), testing::StartsWith("error: ")) << w.back();
  }
}

// As Slurm's srun: ranks are numbered by its variables, and a signal goes to every process of a task.
constexpr const char* kSrun = R"(while [ "$1" != "${1#-}" ]; do
    [ "$1" = --ntasks ] && { n=$2; shift; }
    shift
  done
  tasks=
  trap 'for k in $tasks; do kill -USR2 $k $(cat /proc/$k/task/$k/children); done' USR2
  for r in $(seq 0 $((n - 1))); do
    SLURM_PROCID=$r SLURM_NTASKS=$n SLURM_NNODES=1 "$@" & tasks="$tasks $!"
  done
  for t in $tasks; do while kill -0 $t 2>/dev/null; do wait $t; done; done)";

TEST_F(Launch, InsideSlurmSrunStartsTheRanks) {
  write_script(folder_, "srun", kSrun);
  const auto program =
      write_script(folder_, "p.sh", "echo \"$OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE\"");
  Launched run(folder_, words(3, {"--", program}),
               {{"PATH", folder_.path() + ":/usr/bin:/bin"}, {"SLURM_JOB_ID", "1"}});
  EXPECT_EQ(run.wait(), 0) << run.err();
  EXPECT_THAT(run.err(), HasSubstr("/srun --ntasks 3 --mpi=pmix"));
  for (int r = 0; r < 3; ++r) EXPECT_EQ(log(r), std::to_string(r) + " of 3\n");
}

TEST_F(Launch, InsideSlurmRanksThatAreAskedToStopSaveFirst) {
  write_script(folder_, "srun", kSrun);
  const auto program = write_script(
      folder_, "p.sh",
      "trap 'sleep 0.3; echo saved; exit 75' TERM; echo begins; while :; do sleep 0.1; done");
  Launched run(folder_, words(2, {"--", program}),
               {{"PATH", folder_.path() + ":/usr/bin:/bin"}, {"SLURM_JOB_ID", "1"}});
  ASSERT_TRUE(within(10s, [&] {
    const std::string heard = slurp(folder_ / "logs/scheduler.log");
    return heard.find("rank 0 runs") != std::string::npos &&
           heard.find("rank 1 runs") != std::string::npos && log(0) == "begins\n" &&
           log(1) == "begins\n";
  }));
  run.signal(SIGTERM);
  EXPECT_EQ(run.wait(), 75) << run.err();
  for (int r = 0; r < 2; ++r) EXPECT_THAT(log(r), HasSubstr("saved")) << r;
}

TEST_F(Launch, RanksThatDoNotStartInTimeAreNamed) {
  write_script(folder_, "mpirun", "exec sleep 50");
  const auto program = write_script(folder_, "p.sh", "exit 0");
  Launched run(folder_, words(2, {"--cluster_time_out", "0.5", "--", program}),
               {{"PATH", folder_.path() + ":/usr/bin:/bin"}});
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(run.wait(), 6);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  EXPECT_THAT(run.err(), HasSubstr("2 of 2 ranks have not started within 0.5 s: 0, 1"));
}

TEST_F(Launch, WithoutJoinASupervisorStaysAndWritesTheExitCode) {
  const auto program = write_script(folder_, "p.sh", "sleep 1; exit 8");
  Launched run(folder_, words(2, {"--join", "False", "--", program}));
  EXPECT_EQ(run.wait(), 0);
  EXPECT_FALSE(is_file(folder_ / "logs/exit_code")) << "it returned before the ranks had ended";
  EXPECT_TRUE(within(10s, [&] { return slurp(folder_ / "logs/exit_code") == "8\n"; }));
  EXPECT_TRUE(within(2s, [&] { return test::processes_of(folder_).empty(); }));
}

// A program that dies until `good` starts are over, and saves a checkpoint in its starts number `saves`.
std::string dying_program(const TemporaryFolder& folder, int good, const std::string& saves) {
  return write_script(folder, "p.sh",
                      "[ \"$OMPI_COMM_WORLD_RANK\" = 0 ] || { sleep 20; exit 0; }\n"
                      "n=$(cat n 2>/dev/null || echo 0); n=$((n + 1)); echo $n >n\n"
                      "echo \"start $n: $*\" >>starts\n"
                      "case ' " +
                          saves +
                          " ' in *\" $n \"*) mkdir -p output/checkpoint/native/step-$n;"
                          " echo >output/checkpoint/native/step-$n/manifest.json;; esac\n"
                          "[ $n -lt " +
                          std::to_string(good) + " ] || exit 75\nkill -9 $$");
}

TEST_F(Launch, ARestartGoesOnFromACheckpointOfThisLaunchOnly) {
  make_folders(folder_ / "output/checkpoint/native/step-0");
  std::ofstream(folder_ / "output/checkpoint/native/step-0/manifest.json") << "of an earlier run";
  const auto program = dying_program(folder_, 3, "2");
  Launched run(folder_, words(1, {"--restarts", "5", "--", program, "--a", "b"}),
               {{"OMPI_COMM_WORLD_RANK", "0"}});
  EXPECT_EQ(run.wait(), 75) << run.err();
  EXPECT_EQ(slurp(folder_ / "starts"),
            "start 1: --a b\nstart 2: --a b\nstart 3: --a b --resume_training True\n");
}

TEST_F(Launch, TwoRestartsWithoutANewCheckpointAreTheLast) {
  const auto program = dying_program(folder_, 99, "1 2");
  Launched run(folder_, words(2, {"--restarts", "50", "--", program}));
  EXPECT_EQ(run.wait(), 6);
  EXPECT_EQ(slurp(folder_ / "starts"),
            "start 1: \nstart 2: --resume_training True\nstart 3: --resume_training True\n"
            "start 4: --resume_training True\n");
  EXPECT_THAT(run.err(), HasSubstr("two restarts in a row made no new checkpoint"));
}

TEST_F(Launch, AWrongFlagIsNotTriedAgain) {
  const auto program = write_script(folder_, "p.sh", "echo x >>starts; exit 2");
  Launched run(folder_, words(1, {"--restarts", "3", "--", program}));
  EXPECT_EQ(run.wait(), 2);
  EXPECT_EQ(slurp(folder_ / "starts"), "x\n");
}

}  // namespace
}  // namespace cria
