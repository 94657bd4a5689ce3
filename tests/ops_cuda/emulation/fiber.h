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
  /// Where the entry's stack begins.
  static void first();

  static constexpr size_t kStack = size_t{128} << 10;
  std::unique_ptr<std::byte[]> stack_;
  void (*entry_)() = nullptr;
  void* inside_ = nullptr;  // stack pointers of the side that does not run
  void* outside_ = nullptr;
  // What the address sanitizer keeps of that side, and the stack that resume() was called on.
  void* inside_marks_ = nullptr;
  void* outside_marks_ = nullptr;
  const void* outside_stack_ = nullptr;
  size_t outside_size_ = 0;
};

}  // namespace cria::emulation
