#include "program.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <sstream>

#include "base/temporary_folder.h"
#include "formats/files.h"

namespace cria::e2e {

Outcome run(const std::vector<std::string>& words) {
  const TemporaryFolder folder;
  const std::string out = folder / "out", err = folder / "err";
  std::string program = CRIA_PROGRAM;
  std::vector<std::string> copy = words;
  std::vector<char*> argv = {program.data()};
  for (std::string& w : copy) argv.push_back(w.data());
  argv.push_back(nullptr);
  const auto start = std::chrono::steady_clock::now();
  const pid_t child = fork();
  if (child == 0) {
    const int o = open(out.c_str(), O_WRONLY | O_CREAT, 0600);
    const int e = open(err.c_str(), O_WRONLY | O_CREAT, 0600);
    const int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, 0);
    dup2(o, 1);
    dup2(e, 2);
    alarm(60);
    execv(program.c_str(), argv.data());
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), test::slurp(out),
          test::slurp(err), took.count()};
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

}  // namespace cria::e2e
