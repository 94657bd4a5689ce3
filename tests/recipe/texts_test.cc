// Texts that must be Python's and the recipe's to the letter.
#include <gtest/gtest.h>

#include "recipe/log.h"
#include "recipe/python_repr.h"

namespace cria::recipe {
namespace {

TEST(PythonRepr, isPythons) {
  EXPECT_EQ(python_repr("a"), "'a'");
  EXPECT_EQ(python_repr("it's"), "\"it's\"");
  EXPECT_EQ(python_repr("say \"x\""), "'say \"x\"'");
  EXPECT_EQ(python_repr("'\""), "'\\'\"'");
  EXPECT_EQ(python_repr("a\nb\r\t\\"), "'a\\nb\\r\\t\\\\'");
  EXPECT_EQ(python_repr(std::string("\0\x7f", 2)), "'\\x00\\x7f'");
  EXPECT_EQ(python_repr("é 你 😀"), "'é 你 😀'");
  EXPECT_EQ(python_repr("\u00a0\u200b\u2028\ufeff"), "'\\xa0\\u200b\\u2028\\ufeff'");
  EXPECT_EQ(python_repr("\U000E0001"), "'\\U000e0001'");
  EXPECT_EQ(python_results(std::vector<std::vector<std::string>>{{"a", "b"}, {"c"}}),
            "[{'text_generation_text': ['a', 'b']}, {'text_generation_text': ['c']}]");
}

TEST(NumpyFloat32, printsTheShortestDigits) {
  EXPECT_EQ(numpy_float32(9.99e-06), "9.99e-06");
  EXPECT_EQ(numpy_float32(1e-5), "1e-05");
  EXPECT_EQ(numpy_float32(0), "0.0");
  EXPECT_EQ(numpy_float32(1), "1.0");
  EXPECT_EQ(numpy_float32(65536), "65536.0");
  EXPECT_EQ(numpy_float32(0.0001), "1e-04");
  EXPECT_EQ(numpy_float32(2e-4), "0.0002");
  EXPECT_EQ(numpy_float32(0.1), "0.1");
  EXPECT_EQ(numpy_float32(1e16), "1e+16");
  EXPECT_EQ(python_float(0.1), "0.1");
  EXPECT_EQ(python_float(1e-5), "1e-05");
}

TEST(StepLine, hasTheRecipesForm) {
  StepLine line{.epoch = 1,
                .epochs = 2,
                .step = 2,
                .steps = 6500,
                .loss = 1.2345,
                .mean_loss = 2,
                .seconds_per_step = 3.1999,
                .lr = 9.99e-06,
                .grad_norm = 0.5};
  EXPECT_EQ(step_line(line, true),
            "{ Epoch:[  1/  2], step:[    2/ 6500], loss: 1.234, per_step_time: 3199ms, lr: "
            "9.99e-06, overflow cond: False, loss_scale: 1.0, global_norm: 0.5");
  line.overflow = true;
  EXPECT_EQ(step_line(line, false),
            "{ Epoch:[  1/  2], step:[    2/ 6500], loss:[1.234/2.000], per_step_time: 3199ms, lr: "
            "9.99e-06, overflow cond: True, loss_scale: 1.0, global_norm: 0.5");
}

TEST(BarLine, hasFiftyCellsAndTheTimeLeft) {
  std::string cells;
  for (int i = 0; i < 25; ++i) cells += "█";
  EXPECT_EQ(bar_line(0.5, 0.315, 93784),
            "  50.0% |" + cells + std::string(25, ' ') + "| 0.31500 samples/s/p  1 day, 2:03:04 }");
  EXPECT_EQ(time_left(59), "0:00:59");
  EXPECT_EQ(time_left(2 * 86400), "2 days, 0:00:00");
}

}  // namespace
}  // namespace cria::recipe
