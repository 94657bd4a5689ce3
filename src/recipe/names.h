// File names and fixed texts of the recipe.
#pragma once

#include <string_view>

namespace cria::recipe {

/// What the shipped predict files have for the vocabulary: nobody gave one.
inline constexpr std::string_view kPlaceholderVocab = "/path/tokenizer.model";

}  // namespace cria::recipe
