// What a figure needs beside it to mean something later: the processor, the program, and who else was at work.
#pragma once

#include <cstdint>
#include <string>

namespace cria {

struct Machine {
  std::string processor;  // as it names itself
  std::string isa;        // the level in use, base/cpu.h
  std::string system;     // kernel and its version
  std::string compiler;   // that built this program
  std::string date;       // ISO 8601, UTC
  int cores = 0;          // that this process may use
  int64_t l3_bytes = 0;   // 0: unknown
  int64_t available_bytes = 0;
  /// Processes that wanted to run during the last minute, this one not counted when it has just started; negative: unknown.
  double load = -1;
};
Machine this_machine();

}  // namespace cria
