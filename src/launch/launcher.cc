#include "launch/launcher.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "launch/attempt.h"

namespace cria {

namespace {

/// Every complete training checkpoint below: <folder>/<run>/step-*/manifest.json.
std::set<std::string> checkpoints_below(const std::string& folder) {
  namespace fs = std::filesystem;
  std::set<std::string> found;
  std::error_code ignored;
  for (const auto& run : fs::directory_iterator(folder, ignored)) {
    for (const auto& step : fs::directory_iterator(run.path(), ignored)) {
      const bool named = step.path().filename().string().starts_with("step-");
      if (named && is_file(step.path() / "manifest.json")) found.insert(step.path());
    }
  }
  return found;
}

bool has_new(const std::set<std::string>& now, const std::set<std::string>& before) {
  for (const std::string& path : now)
    if (!before.contains(path)) return true;
  return false;
}

bool worth_a_restart(int code) {
  // A wrong flag, file or configuration fails again in the same way.
  const std::set<int> hopeless = {2, 3, 5, 9};
  return code != 0 && code != static_cast<int>(ExitCode::stopped) && !hopeless.contains(code);
}

std::vector<std::string> program_words(const LaunchPlan& plan) {
  std::vector<std::string> words = plan.program;
  words[0] = std::filesystem::absolute(find_program(words[0], true));
  return words;
}

}  // namespace

void check_launch(const LaunchPlan& plan) {
  require(!plan.program.empty(),
          "launch: no program given; try: cria launch --nproc 2 -- run_llama3 ...");
  require(plan.start.ranks >= 1 && plan.start.ranks <= 65536, "--nproc is {}, expected 1 to 65536",
          plan.start.ranks);
  require(plan.threads_per_rank >= 0 && plan.threads_per_rank <= 4096,
          "--threads_per_rank is {}, expected 0 to 4096", plan.threads_per_rank);
  require(plan.restarts >= 0, "--restarts is {}, expected 0 or more", plan.restarts);
  require(!find_program(plan.program[0], true).empty(),
          "launch: {}: no such program beside cria or in PATH", escaped(plan.program[0], 200));
  start_command(plan.start);
  make_folders(plan.log_folder);
  LaunchLog(join_path(plan.log_folder, "scheduler.log"));
}

int launch(const LaunchPlan& given) {
  check_launch(given);
  LaunchPlan plan = given;
  plan.log_folder = std::filesystem::absolute(given.log_folder);
  std::error_code ignored;
  std::filesystem::remove(join_path(plan.log_folder, "exit_code"), ignored);
  LaunchLog log(join_path(plan.log_folder, "scheduler.log"));
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const sigset_t signals = watched_signals();
  sigprocmask(SIG_BLOCK, &signals, nullptr);

  const std::set<std::string> at_start = checkpoints_below(plan.checkpoint_folder);
  std::set<std::string> known = at_start;
  int code = 0;
  for (int restart = 0, without_progress = 0;; ++restart) {
    std::vector<std::string> words = program_words(plan);
    // Nothing saved yet in this launch: it begins anew, and does not go on with what an earlier run left.
    if (restart > 0 && has_new(known, at_start))
      words.insert(words.end(), {"--resume_training", "True"});
    Attempt attempt(plan, words, log);
    code = attempt.run();
    if (restart >= plan.restarts || !worth_a_restart(code) || attempt.stopped_by_user()) break;
    const std::set<std::string> now = checkpoints_below(plan.checkpoint_folder);
    without_progress = has_new(now, known) ? 0 : without_progress + (restart > 0 ? 1 : 0);
    known.insert(now.begin(), now.end());
    if (without_progress >= 2) {
      log.say("error: two restarts in a row made no new checkpoint; gives up");
      break;
    }
    log.say(fmt::format("restart {} of {}, {}", restart + 1, plan.restarts,
                        has_new(known, at_start) ? "from the newest valid checkpoint"
                                                 : "from the beginning: nothing was saved yet"));
  }
  log.note(fmt::format("exit code {}", code));
  write_file(join_path(plan.log_folder, "exit_code"), fmt::format("{}\n", code));
  return code;
}

}  // namespace cria
