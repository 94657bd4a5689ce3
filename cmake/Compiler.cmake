# Language level, warnings, hardening and the baseline instruction set.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
# -O3 stays; assertions of libstdc++ stay too: hostile input must never index past an end quietly.
set(CMAKE_CXX_FLAGS_RELEASE "-O2")

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# Every machine since 2015; faster levels are chosen at run time (src/base/cpu.h).
add_compile_options(-march=x86-64-v3 -ffp-contract=off -fopenmp-simd)
add_compile_options(-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers)
if(CRIA_WERROR)
  add_compile_options(-Werror)
endif()

add_compile_options(-fstack-protector-strong)
add_link_options(-Wl,-z,relro,-z,now -Wl,-z,noexecstack)
if(CRIA_FUZZ)
  # clang says where -O1 leaves a `#pragma omp simd` loop alone.
  add_compile_options(-fsanitize=fuzzer-no-link -Wno-pass-failed)
endif()
# Of tests that start ranks under mpirun: Open MPI does not free all that it allocates.
set(CRIA_RANKS_ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
if(CRIA_SANITIZE MATCHES "address")
  list(APPEND CRIA_RANKS_ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")
endif()
if(CRIA_SANITIZE)
  add_compile_options(-fsanitize=${CRIA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${CRIA_SANITIZE})
  # Three checks of every access to an object take a quarter of the time to compile; what they find the address sanitizer finds too, or,
  # in the parsers, a fuzz target, which keeps them.
  if(CRIA_SANITIZE MATCHES "undefined" AND NOT CRIA_FUZZ)
    add_compile_options(-fno-sanitize=null,vptr,object-size)
  endif()
  # g++'s manual says that sanitizers bring false warnings of this kind.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-maybe-uninitialized)
  endif()
else()
  add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
endif()
