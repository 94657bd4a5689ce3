# cria_module(name [USES rooms...] [LINKS libraries...])
#
# One static library for src/<name>/*.cc and, with CRIA_TESTS, one test program for tests/<name>/*_test.cc.
# Files named *_cpu.cc are kernels: compiled once per instruction-set level, each inside its own
# namespace (src/ops/isa.h), and chosen at run time.
set(CRIA_ISA_LEVELS avx2 avx512 avx512_vnni avx512_bf16)
set(CRIA_ISA_FLAGS_avx2 -march=x86-64-v3)
set(CRIA_ISA_FLAGS_avx512 -march=x86-64-v4)
set(CRIA_ISA_FLAGS_avx512_vnni -march=x86-64-v4 -mavx512vnni)
set(CRIA_ISA_FLAGS_avx512_bf16 -march=x86-64-v4 -mavx512vnni -mavx512bf16)

# Of a program that only tests: compiled fast rather than well.
function(cria_test_program name)
  if(CRIA_SANITIZE)
    target_compile_options(${name} PRIVATE -O0)
  else()
    target_compile_options(${name} PRIVATE -O1)
  endif()
endfunction()

function(cria_module name)
  cmake_parse_arguments(ARG "" "" "USES;LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  if(NOT sources)
    message(STATUS "cria: ${name} has no sources yet")
    return()
  endif()
  set(kernels ${sources})
  list(FILTER kernels INCLUDE REGEX "_cpu\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_cpu\\.cc$")
  add_library(${name} STATIC ${sources})
  set_target_properties(${name} PROPERTIES OUTPUT_NAME cria_${name})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  list(TRANSFORM ARG_USES PREPEND "" OUTPUT_VARIABLE used)
  target_link_libraries(${name} PUBLIC ${used} ${ARG_LINKS} fmt::fmt Threads::Threads)

  if(kernels)
    foreach(level ${CRIA_ISA_LEVELS})
      add_library(${name}_${level} OBJECT ${kernels})
      target_include_directories(${name}_${level} PRIVATE ${PROJECT_SOURCE_DIR}/src)
      # g++ 12 warns of its own header's _mm512_undefined_epi32 (GCC bug 105593).
      target_compile_options(${name}_${level} PRIVATE -O3 ${CRIA_ISA_FLAGS_${level}} -mprefer-vector-width=256
        -Wno-maybe-uninitialized -Wno-uninitialized)
      target_compile_definitions(${name}_${level} PRIVATE CRIA_ISA_LEVEL=${level})
      target_sources(${name} PRIVATE $<TARGET_OBJECTS:${name}_${level}>)
    endforeach()
  endif()

  if(CRIA_TESTS)
    file(GLOB tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${name}/*_test.cc)
    if(tests)
      add_executable(${name}_test ${tests})
      cria_test_program(${name}_test)
      target_include_directories(${name}_test PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
      target_link_libraries(${name}_test PRIVATE ${name} GTest::gmock GTest::gtest GTest::gtest_main)
      target_compile_definitions(${name}_test PRIVATE
        CRIA_SOURCE_DIR="${PROJECT_SOURCE_DIR}" CRIA_FIXTURES_DIR="${PROJECT_SOURCE_DIR}/../shared/fixtures")
      if(kernels)
        foreach(level ${CRIA_ISA_LEVELS})
          add_test(NAME ${name}.${level} COMMAND ${name}_test)
          set_tests_properties(${name}.${level} PROPERTIES ENVIRONMENT CRIA_ISA=${level}
            SKIP_REGULAR_EXPRESSION "CRIA_ISA=[a-z0-9_]+: this processor lacks")
        endforeach()
      else()
        add_test(NAME ${name} COMMAND ${name}_test)
      endif()
    endif()
  endif()
endfunction()
