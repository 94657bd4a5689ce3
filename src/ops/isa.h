// Kernels per instruction-set level. A file <op>_cpu.cc is compiled once per level
// (cmake/CriaModule.cmake), everything in it inside `namespace CRIA_ISA`; it fills one table of
// function pointers. The linker would merge inline functions and templates of different levels, so
// kernels use none from outside that namespace (tools/check_isa_symbols.sh makes sure).
#pragma once

#include "base/cpu.h"

#ifdef CRIA_ISA_LEVEL
#define CRIA_ISA_JOIN2(a, b) a##b
#define CRIA_ISA_JOIN(a, b) CRIA_ISA_JOIN2(a, b)
#define CRIA_ISA CRIA_ISA_JOIN(isa_, CRIA_ISA_LEVEL)
#endif

/// Declares `const Type name` in each level's namespace (defined by the _cpu.cc), and a function
/// `name()` in the enclosing namespace that returns the table of the level in use. Use it inside
/// namespace cria::ops.
#define CRIA_KERNEL_TABLE(Type, name) \
  namespace isa_avx2 {                \
  extern const Type name;             \
  }                                   \
  namespace isa_avx512 {              \
  extern const Type name;             \
  }                                   \
  namespace isa_avx512_vnni {         \
  extern const Type name;             \
  }                                   \
  namespace isa_avx512_bf16 {         \
  extern const Type name;             \
  }                                   \
  inline const Type& name() {         \
    switch (current_isa()) {          \
      case Isa::avx512:               \
        return isa_avx512::name;      \
      case Isa::avx512_vnni:          \
        return isa_avx512_vnni::name; \
      case Isa::avx512_bf16:          \
        return isa_avx512_bf16::name; \
      default:                        \
        return isa_avx2::name;        \
    }                                 \
  }
