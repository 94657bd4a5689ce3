#include "train/stop_signals.h"

#include <atomic>

namespace cria {
namespace {

// Handlers may only set flags; lock-free atomics are allowed in them.
std::atomic<int> stops{0};
std::atomic<bool> save{false};

void on_stop(int number) {
  if (++stops < 2) return;
  std::signal(number, SIG_DFL);
  std::raise(number);
}
void on_save(int /*number*/) { save = true; }

void install(int number, void (*handler)(int), struct sigaction* old) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(number, &action, old);
}

}  // namespace

void hold_save_requests() { install(SIGUSR1, on_save, nullptr); }

StopSignals::StopSignals() {
  stops = 0;
  install(SIGTERM, on_stop, &old_term_);
  install(SIGINT, on_stop, &old_int_);
  install(SIGUSR1, on_save, &old_usr1_);
}

StopSignals::~StopSignals() {
  sigaction(SIGTERM, &old_term_, nullptr);
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGUSR1, &old_usr1_, nullptr);
}

bool StopSignals::stop_asked() const { return stops.load() > 0; }
bool StopSignals::take_save_asked() { return save.exchange(false); }

}  // namespace cria
