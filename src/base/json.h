// Strict JSON (RFC 8259) for configuration and headers: UTF-8 checked, no duplicate keys, depth at
// most 64, one value and nothing after it. Keys keep their order. Include nlohmann's header only
// where values are used.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace cria {

using Json = nlohmann::ordered_json;

/// `what` and `path` name the source in errors. Throws FormatError with the byte offset
/// (`base_offset` + position in `text`, for JSON inside a larger file).
Json parse_json(std::string_view text, std::string_view what, std::string_view path,
                int64_t base_offset = 0);

}  // namespace cria
