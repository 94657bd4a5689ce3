// Two hosts on one machine: network namespaces with host names of their own, a cable between them, and a real mpirun that starts
// its daemon on the other one. Needs root and iproute2.
#include <gmock/gmock.h>

#include <cstdio>
#include <memory>

#include "base/file.h"
#include "launched.h"

namespace cria {
namespace {

using test::Launched;
using test::slurp;
using test::within;
using test::write_script;
using testing::HasSubstr;
using namespace std::chrono_literals;

bool shell(const std::string& command) {
  return std::system((command + " 2>/dev/null").c_str()) == 0;
}

/// Hosts a and b, 10.77.0.1 and 10.77.0.2; gone with the object.
class TwoHosts {
 public:
  TwoHosts() {
    ready_ = shell("ip netns add " + a() + " && ip netns add " + b()) &&
             shell("ip link add " + cable("a") + " netns " + a() + " type veth peer name " +
                   cable("b") + " netns " + b()) &&
             shell("ip -n " + a() + " addr add 10.77.0.1/24 dev " + cable("a")) &&
             shell("ip -n " + b() + " addr add 10.77.0.2/24 dev " + cable("b")) &&
             shell("ip -n " + a() + " link set lo up; ip -n " + b() + " link set lo up") &&
             shell("ip -n " + a() + " link set " + cable("a") + " up && ip -n " + b() +
                   " link set " + cable("b") + " up");
  }
  ~TwoHosts() {
    shell("ip netns del " + a());
    shell("ip netns del " + b());
  }
  TwoHosts(const TwoHosts&) = delete;
  TwoHosts& operator=(const TwoHosts&) = delete;

  [[nodiscard]] bool ready() const { return ready_; }
  /// Through the cable, by host a.
  [[nodiscard]] int64_t bytes_sent() const {
    const std::string command =
        "ip netns exec " + a() + " cat /sys/class/net/" + cable("a") + "/statistics/tx_bytes";
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
    long long bytes = 0;
    return pipe && std::fscanf(pipe.get(), "%lld", &bytes) == 1 ? bytes : -1;
  }
  void cut_cable() const { shell("ip -n " + a() + " link del " + cable("a")); }
  [[nodiscard]] std::string a() const { return "cria-a" + id_; }
  [[nodiscard]] std::string b() const { return "cria-b" + id_; }
  [[nodiscard]] std::string cable(const std::string& end) const { return "cv" + end + id_; }

 private:
  std::string id_ = std::to_string(getpid());
  bool ready_ = false;
};

constexpr auto kProgram = R"sh(r=$OMPI_COMM_WORLD_RANK
echo "rank $r of $OMPI_COMM_WORLD_SIZE on $(uname -n)"
[ "$1" = ok ] && exit 0
echo $$ >"$(dirname "$0")/rank_$r.pid"
[ "$1" = "$r" ] && { sleep 1; echo 'error: it hurts'; exit 8; }
while :; do sleep 0.05; done)sh";

class MultiHost : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "not root: no network namespaces";
    if (find_program("ip", false).empty()) GTEST_SKIP() << "no iproute2";
    if (find_program("mpirun", false).empty()) GTEST_SKIP() << "no mpirun in PATH";
    if (!hosts_.ready()) GTEST_SKIP() << "this machine lets us make no network namespaces";
    agent_ = write_script(
        folder_, "agent",
        "case $1 in 10.77.0.1) n=" + hosts_.a() + ";; *) n=" + hosts_.b() +
            ";; esac\nshift\nexec ip netns exec $n unshare --uts sh -c \"hostname $n; $*\"");
    std::ofstream(folder_ / "hosts") << "10.77.0.1 slots=2\n10.77.0.2 slots=2\n";
    program_ = write_script(folder_, "p.sh", kProgram);
  }
  /// `cria launch` on host a, for four ranks, two on each host.
  std::vector<std::string> on_host_a(const std::string& what) {
    const std::string command =
        "hostname " + hosts_.a() + "; OMPI_MCA_plm_rsh_agent=" + agent_ +
        " OMPI_MCA_oob_tcp_if_include=10.77.0.0/24 OMPI_MCA_btl_tcp_if_include=10.77.0.0/24 exec " +
        CRIA_PROGRAM + " launch --nproc 4 --hostfile hosts --log_dir logs -- " + program_ + " " +
        what;
    return {"ip", "netns", "exec", hosts_.a(), "unshare", "--uts", "sh", "-c", command};
  }
  std::string log(int rank) {
    return slurp(folder_ / ("logs/worker_" + std::to_string(rank) + ".log"));
  }

  TwoHosts hosts_;
  TemporaryFolder folder_;
  std::string agent_, program_;
};

TEST_F(MultiHost, RanksStartOnEveryHostOfTheFile) {
  Launched run(folder_, on_host_a("ok"), {}, true);
  EXPECT_EQ(run.wait(), 0) << run.err();
  for (int r = 0; r < 4; ++r)
    EXPECT_EQ(log(r),
              "rank " + std::to_string(r) + " of 4 on " + (r < 2 ? hosts_.a() : hosts_.b()) + "\n");
}

// Every layout of four ranks, two on each host, against the run of one rank it must equal; and the bytes did go through the cable.
TEST_F(MultiHost, RanksOfTwoHostsTrainAsOneRankDoes) {
  program_ = parent_folder(CRIA_PROGRAM) + "/layout_matrix";
  if (!is_file(parent_folder(CRIA_PROGRAM) + "/libcria_mpi.so"))
    GTEST_SKIP() << "built without MPI";
  Launched run(folder_, on_host_a("--steps 1"), {}, true);
  EXPECT_EQ(run.wait(), 0) << run.err();
  EXPECT_THAT(log(0), HasSubstr("4 ranks: "));
  EXPECT_THAT(log(0), HasSubstr(" 0 failures"));
  EXPECT_GT(hosts_.bytes_sent(), 10'000'000);
}

TEST_F(MultiHost, AFailureOnTheOtherHostIsNamedAndEndsAll) {
  Launched run(folder_, on_host_a("3"), {}, true);
  EXPECT_EQ(run.wait(), 8);
  EXPECT_TRUE(within(2s, [&] { return test::processes_of(folder_).empty(); }));
  EXPECT_THAT(run.err(), HasSubstr("rank 3 on " + hosts_.b() + " (process "));
  EXPECT_THAT(run.err(), HasSubstr("its last words: error: it hurts"));
}

TEST_F(MultiHost, ACutCableEndsBothSidesWithinFifteenSeconds) {
  Launched run(folder_, on_host_a("none"), {}, true);
  ASSERT_TRUE(run.started(4)) << run.err();
  hosts_.cut_cable();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(run.wait(), 6);
  EXPECT_TRUE(within(15s, [&] { return test::processes_of(folder_).empty(); }))
      << test::processes_of(folder_).size() << " processes left";
  EXPECT_LT(std::chrono::steady_clock::now() - start, 15s);
  EXPECT_THAT(run.err(), HasSubstr("error: mpirun "));
}

}  // namespace
}  // namespace cria
