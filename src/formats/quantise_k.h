// The K kinds of quantise.h: blocks of 256 whose groups have small scales of their own, chosen together.
#pragma once

#include <span>

#include "tensor/blocks.h"

namespace cria::quantising {

/// One block of 256 numbers at `x`. `importance` is 256 weights, each to be multiplied by `factor`, or null.
void quantise_block(const float* x, const float* importance, float factor, blocks::Q4_K& out);
void quantise_block(const float* x, const float* importance, float factor, blocks::Q5_K& out);
void quantise_block(const float* x, const float* importance, float factor, blocks::Q6_K& out);

}  // namespace cria::quantising
