#include "program.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <sstream>

#include "formats/files.h"

namespace cria::e2e {

Program::Program(const std::vector<std::string>& words, const std::string& folder) {
  const std::string out = said_ / "out", err = said_ / "err";
  std::string program = CRIA_PROGRAM;
  std::vector<std::string> copy = words;
  std::vector<char*> argv = {program.data()};
  for (std::string& w : copy) argv.push_back(w.data());
  argv.push_back(nullptr);
  // Before the fork: a child that is killed at once has said nothing, but its files are there.
  const int o = open(out.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const int e = open(err.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  process_ = fork();
  if (process_ != 0) {
    close(o);
    close(e);
    return;
  }
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, 0);
  dup2(o, 1);
  dup2(e, 2);
  if (!folder.empty() && chdir(folder.c_str()) != 0) _exit(126);
  alarm(kSecondsToLive);
  execv(program.c_str(), argv.data());
  _exit(127);
}

bool Program::running() const {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(process_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == 0;
}
void Program::signal(int number) const { kill(process_, number); }

std::string Program::out() const { return test::slurp(said_ / "out"); }

Outcome Program::wait() {
  int status = 0;
  waitpid(process_, &status, 0);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start_;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          test::slurp(said_ / "out"), test::slurp(said_ / "err"), took.count()};
}

std::vector<std::string> words_of(std::string text, const std::string& x, const std::string& i,
                                  const std::string& o) {
  const std::pair<std::string, const std::string*> places[] = {
      {"{x}", &x}, {"{i}", &i}, {"{o}", &o}};
  for (const auto& [place, value] : places) {
    for (size_t at = 0; (at = text.find(place, at)) != std::string::npos; at += value->size())
      text.replace(at, place.size(), *value);
  }
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

std::vector<double> numbers_after(const std::string& before, const std::string& text) {
  std::vector<double> all;
  for (size_t at = 0; (at = text.find(before, at)) != std::string::npos;)
    all.push_back(std::strtod(text.c_str() + (at += before.size()), nullptr));
  return all;
}

}  // namespace cria::e2e
