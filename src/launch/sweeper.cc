#include "launch/sweeper.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/error.h"

namespace cria {

namespace {

struct Order {
  enum class Kind : uint32_t { watch, job } kind = Kind::watch;
  uint32_t value = 0;
};

bool is_there(uint32_t process) {
  std::error_code ignored;
  return std::filesystem::exists(fmt::format("/proc/{}", process), ignored);
}

void clear(uint32_t starter, const std::vector<uint32_t>& jobs) {
  namespace fs = std::filesystem;
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) return;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/dev/shm", ignored)) {
    const std::string name = entry.path().filename();
    for (const uint32_t job : jobs) {
      const std::string mark =
          fmt::format("vader_segment.{}.{}.{:x}.", host.data(), geteuid(), job);
      if (name.starts_with(mark)) fs::remove(entry.path(), ignored);
    }
  }
  const fs::path sessions =
      fs::temp_directory_path(ignored) / fmt::format("ompi.{}.{}", host.data(), geteuid());
  fs::remove_all(sessions / fmt::format("pid.{}", starter), ignored);
  fs::remove(sessions, ignored);  // only when no other job is in it
}

[[noreturn]] void sweep(int orders) {
  setpgid(0, 0);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  uint32_t starter = 0;
  std::vector<uint32_t> jobs;
  while (true) {
    Order order;
    const ssize_t got = read(orders, &order, sizeof order);
    if (got < 0 && errno == EINTR) continue;
    if (got != ssize_t{sizeof order}) break;
    if (order.kind == Order::Kind::watch) starter = order.value;
    if (order.kind == Order::Kind::job) jobs.push_back(order.value);
  }
  while (starter != 0 && is_there(starter)) usleep(20'000);
  // Twice: a rank that dies now may have been making its memory a moment ago.
  if (starter != 0) clear(starter, jobs);
  usleep(200'000);
  if (starter != 0) clear(starter, jobs);
  _exit(0);
}

void give(int orders, Order order) {
  // Without a sweeper the run goes on; mpirun clears up itself unless it is killed.
  if (write(orders, &order, sizeof order) < 0) return;
}

}  // namespace

Sweeper Sweeper::start() {
  auto [read_end, write_end] = make_pipe();
  const pid_t child = fork();
  require<IoError>(child >= 0, "launch: cannot start a process: {}", std::strerror(errno));
  if (child == 0) {
    write_end.reset();
    sweep(read_end.get());
  }
  return Sweeper(std::move(write_end));
}

void Sweeper::watch(pid_t starter) {
  give(orders_.get(), {Order::Kind::watch, static_cast<uint32_t>(starter)});
}
void Sweeper::know_job(uint32_t job) { give(orders_.get(), {Order::Kind::job, job}); }

}  // namespace cria
