#include "ops_cuda/emulation/fiber.h"

#include <cstdint>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves what a function must keep and goes on where `to` was saved. ucontext does this too, with two system calls each time.
extern "C" void cria_switch_stack(void** from, void* to);
asm(R"(
.text
.globl cria_switch_stack
.type cria_switch_stack, @function
cria_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cria_switch_stack, .-cria_switch_stack
)");

namespace cria::emulation {

// The address sanitizer wants to be told which stack is in use.
namespace {

#ifdef __SANITIZE_ADDRESS__
void leave(void** marks, const void* stack, size_t size) {
  __sanitizer_start_switch_fiber(marks, stack, size);
}
void arrive(void* marks, const void** from, size_t* size) {
  __sanitizer_finish_switch_fiber(marks, from, size);
}
/// Of a thread that was left in the middle when another failed.
void forget_frames(void* stack, size_t size) { __asan_unpoison_memory_region(stack, size); }
#else
void forget_frames(void* /*stack*/, size_t /*size*/) {}
void leave(void** /*marks*/, const void* /*stack*/, size_t /*size*/) {}
void arrive(void* /*marks*/, const void** /*from*/, size_t* /*size*/) {}
#endif

constinit thread_local Fiber* starting = nullptr;  // whose first() this thread calls next

}  // namespace

Fiber::Fiber() : stack_(new std::byte[kStack]) {}

void Fiber::first() {
  Fiber& me = *starting;
  arrive(nullptr, &me.outside_stack_, &me.outside_size_);
  me.entry_();
}

void Fiber::start(void (*entry)()) {
  entry_ = entry;
  inside_marks_ = nullptr;
  forget_frames(stack_.get(), kStack);
  // As the switch leaves it: six registers, then where to go on. A function begins 8 bytes below a multiple of 16.
  const auto top = (reinterpret_cast<uintptr_t>(stack_.get()) + kStack) / 16 * 16 - 8;
  auto* const frame = reinterpret_cast<uintptr_t*>(top) - 7;
  for (int i = 0; i < 6; ++i) frame[i] = 0;
  frame[6] = reinterpret_cast<uintptr_t>(&Fiber::first);
  frame[7] = 0;  // the entry's own caller: there is none
  inside_ = frame;
}

void Fiber::resume() {
  starting = this;
  leave(&outside_marks_, stack_.get(), kStack);
  cria_switch_stack(&outside_, inside_);
  arrive(outside_marks_, nullptr, nullptr);
}
void Fiber::suspend() {
  leave(&inside_marks_, outside_stack_, outside_size_);
  cria_switch_stack(&inside_, outside_);
  arrive(inside_marks_, &outside_stack_, &outside_size_);
}

}  // namespace cria::emulation
