// The two parts of the table of keys.
#pragma once

#include "recipe/keys.h"

namespace cria::recipe {

std::span<const Key> run_keys();
std::span<const Key> model_keys();

}  // namespace cria::recipe
