// GPT-2's way to write any bytes as printable text: each byte is one code point, the printable ones
// themselves, the others U+0100 and up ("Ġ" is the space). Used inside tokenizer.json and GGUF.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cria {

std::string to_byte_level(std::string_view bytes);
/// Appends the bytes to `out`; false when `text` (valid UTF-8 or not) has something that stands for
/// no byte.
bool from_byte_level(std::string_view text, std::string& out);

}  // namespace cria
