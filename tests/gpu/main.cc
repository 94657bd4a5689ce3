// Tests that want a GPU: without one, one line that says why.
#include <gtest/gtest.h>

#include <cstdio>

#include "base/error.h"
#include "ops/cuda_device.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!testing::GTEST_FLAG(list_tests)) {
    try {
      std::printf("on %s\n", cria::ops::open_cuda_device(0)->name().c_str());
    } catch (const cria::Error& e) {
      std::printf("no CUDA device: %s\n", e.what());
      return 0;
    }
  }
  return RUN_ALL_TESTS();
}
