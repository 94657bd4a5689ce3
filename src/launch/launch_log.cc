#include "launch/launch_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "base/error.h"

namespace cria {

namespace {

void write_line(int fd, const std::string& line) {
  // A full disk must not end a run that trains; the message is then on stderr alone.
  if (write(fd, line.data(), line.size()) < 0) return;
}

}  // namespace

LaunchLog::LaunchLog(const std::string& path)
    : file_(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644)) {
  require<IoError>(file_.get() >= 0, "{}: cannot be written: {}", path, std::strerror(errno));
}

void LaunchLog::say(const std::string& message) {
  write_line(STDERR_FILENO, "launch: " + message + "\n");
  note(message);
}

void LaunchLog::note(const std::string& line) {
  const time_t now = time(nullptr);
  tm parts{};
  localtime_r(&now, &parts);
  std::array<char, 32> stamp{};
  const size_t size = strftime(stamp.data(), stamp.size(), "%Y-%m-%d %H:%M:%S ", &parts);
  write_line(file_.get(), std::string(stamp.data(), size) + line + "\n");
  last_notes_.push_back(line);
  if (last_notes_.size() > 40) last_notes_.pop_front();
}

}  // namespace cria
