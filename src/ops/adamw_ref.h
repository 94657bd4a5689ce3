// The plain versions of adamw.h.
#pragma once

#include "ops/adamw.h"

namespace cria::ops {

void adamw_ref(const AdamWParam& param, const AdamWStep& step);
void split_master_ref(ConstView f32, View weight, View low);
void join_master_ref(ConstView weight, ConstView low, View f32);

}  // namespace cria::ops
