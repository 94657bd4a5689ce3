#include "ops_cuda/emulation/fiber.h"

#include <cstdint>

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

Fiber::Fiber() : stack_(new std::byte[kStack]) {}

void Fiber::start(void (*entry)()) {
  // As the switch leaves it: six registers, then where to go on. A function begins 8 bytes below a multiple of 16.
  const auto top = (reinterpret_cast<uintptr_t>(stack_.get()) + kStack) / 16 * 16 - 8;
  auto* const frame = reinterpret_cast<uintptr_t*>(top) - 7;
  for (int i = 0; i < 6; ++i) frame[i] = 0;
  frame[6] = reinterpret_cast<uintptr_t>(entry);
  frame[7] = 0;  // the entry's own caller: there is none
  inside_ = frame;
}

void Fiber::resume() { cria_switch_stack(&outside_, inside_); }
void Fiber::suspend() { cria_switch_stack(&inside_, outside_); }

}  // namespace cria::emulation
