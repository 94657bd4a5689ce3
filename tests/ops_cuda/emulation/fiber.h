// A thread of control with a stack of its own, switched to and from by hand.
#pragma once

#include <cstddef>
#include <memory>

namespace cria::emulation {

class Fiber {
 public:
  Fiber();
  /// The next resume() begins `entry`, which must never return: it calls suspend() when it is done.
  void start(void (*entry)());
  /// Runs it until it suspends itself.
  void resume();
  /// From within: back to the caller of resume().
  void suspend();

 private:
  static constexpr size_t kStack = size_t{128} << 10;
  std::unique_ptr<std::byte[]> stack_;
  void* inside_ = nullptr;  // stack pointers of the side that does not run
  void* outside_ = nullptr;
};

}  // namespace cria::emulation
