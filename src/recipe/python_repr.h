// Values as Python and numpy print them, because the recipe's logs and result files are made of such texts.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria::recipe {

/// repr(str): single quotes unless the text has ' and no "; \\, \n, \r, \t and non-printable code points escaped.
/// `text` must be valid UTF-8.
std::string python_repr(std::string_view text);
/// str() of the predictions: [{'text_generation_text': ['...', '...']}, ...], one dict for each batch.
std::string python_results(std::span<const std::vector<std::string>> batches);
/// repr(float).
std::string python_float(double value);
/// str(numpy.float32): the shortest digits that give the same f32, e.g. 9.99e-06, 1.0.
std::string numpy_float32(double value);

}  // namespace cria::recipe
