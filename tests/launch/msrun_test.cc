// msrun_launcher.sh beside a `cria` that only says how it was called.
#include <gmock/gmock.h>

#include "launched.h"

namespace cria {
namespace {

using test::Launched;
using test::write_script;
using testing::HasSubstr;

class Msrun : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::copy_file(CRIA_SOURCE_DIR "/tools/msrun_launcher.sh",
                               folder_ / "msrun_launcher.sh");
    write_script(folder_, "cria", "printf '<%s>' \"$@\"; exit 8");
    write_script(folder_, "run_llama3", "exit 0");
  }
  int run(std::vector<std::string> words, const Launched::Environment& environment = {}) {
    words.insert(words.begin(), {"bash", folder_ / "msrun_launcher.sh"});
    Launched launched(folder_, words, environment, true);
    const int code = launched.wait();
    out_ = launched.out();
    err_ = launched.err();
    return code;
  }
  std::string launch_of(const std::string& ranks, const std::string& more) {
    return "<launch><--nproc><" + ranks + ">" + more;
  }

  TemporaryFolder folder_;
  std::string out_, err_;
};

TEST_F(Msrun, OneAndTwoArgumentsTakeTheRecipesDefaults) {
  EXPECT_EQ(run({"python x/run_llama3.py --a 1"}), 8) << "the launcher's exit code is passed on";
  const std::string defaults =
      "<--log_dir><output/"
      "msrun_log><--join><False><--tee><False><--cluster_time_out=600><--restarts><0>";
  EXPECT_THAT(out_, HasSubstr(launch_of("8", defaults) + "<--><"));
  EXPECT_THAT(out_, HasSubstr("/run_llama3><--a><1>"));
  EXPECT_THAT(out_, HasSubstr("Running Command: run_llama3 --a 1\nPlease check log files in "));
  run({"run_llama3.py", "4"});
  EXPECT_THAT(out_, HasSubstr(launch_of("4", defaults)));
}

TEST_F(Msrun, SixArgumentsAndQuotedWords) {
  run({"run_llama3 --p 'two words'", "2", "8118", "logs", "True", "-1"}, {{"CRIA_RESTARTS", "3"}});
  EXPECT_THAT(out_, HasSubstr(launch_of("2",
                                        "<--log_dir><logs><--join><True><--tee><False>"
                                        "<--cluster_time_out=-1><--restarts><3>")));
  EXPECT_THAT(out_, HasSubstr("<--p><two words>"));
}

TEST_F(Msrun, OverSeveralNodesNodeZeroStartsAll) {
  const auto node = [](const std::string& n) {
    return std::vector<std::string>{"run_llama3", "8",    "4", "10.0.0.1", "8118", n,
                                    "logs",       "True", "60"};
  };
  EXPECT_EQ(run(node("1")), 0);
  EXPECT_THAT(out_, HasSubstr("nothing to start"));
  EXPECT_EQ(run(node("0")), 2);
  EXPECT_THAT(err_, HasSubstr("CRIA_HOSTFILE"));
  run(node("0"), {{"CRIA_HOSTFILE", "hosts"}});
  EXPECT_THAT(out_, HasSubstr(launch_of("8", "<--hostfile><hosts><--log_dir><logs>")));
  run({"run_llama3", "4", "4", "127.0.0.1", "8118", "0", "logs", "True", "60"});
  EXPECT_THAT(out_, HasSubstr(launch_of("4", "<--log_dir><logs>"))) << "all workers here: one node";
}

TEST_F(Msrun, RefusesWhatTheRecipesLauncherRefuses) {
  EXPECT_EQ(run({}), 1);
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 4);
  EXPECT_EQ(run({"run_llama3", "2", "3"}), 1);
  EXPECT_EQ(run({"run_llama3", "two"}), 1);
  EXPECT_EQ(out_, "error: worker_num=two is not a number\n");
  EXPECT_EQ(run({"other_program", "2"}), 2);
}

}  // namespace
}  // namespace cria
