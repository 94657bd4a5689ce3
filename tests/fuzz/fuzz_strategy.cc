// Any bytes as a strategy file, in both forms, and the layout of a network that it means.
#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/error.h"
#include "checkpoint/layout.h"
#include "checkpoint/strategy.h"
#include "formats/strategy_file.h"

namespace {

void lay_out(const cria::StrategyFile& file) try {
  const cria::Strategy strategy = cria::strategy_of(file, "fuzz.ckpt");
  // 5040 has many divisors, so that many layouts fit.
  constexpr std::array<int64_t, 2> shape = {5040, 5040};
  for (const auto& [name, placement] : strategy.parameters) {
    for (const auto& [stage, layout] : placement) {
      for (const size_t dims : {size_t{0}, size_t{1}, size_t{2}}) try {
          const auto cuts = cria::cuts_of(layout, dims, name);
          for (const int64_t rank : {int64_t{0}, layout.devices() - 1}) {
            const cria::Part part = cria::part_of(layout, std::span(shape).first(dims), rank, name);
            for (size_t d = 0; d < dims; ++d)
              cria::check(part.begin[d] >= 0 && part.size[d] * cuts[d] == shape[d] &&
                              part.begin[d] + part.size[d] <= shape[d],
                          "a part lies in its tensor");
          }
        } catch (const cria::MismatchError&) {
        }
    }
  }
  (void)cria::merge_strategies({{"fuzz.ckpt", file}});
} catch (const cria::Error&) {
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    const auto file = cria::parse_strategy(bytes, "fuzz.ckpt");
    // What was accepted must survive being written and read.
    cria::check(cria::parse_strategy(cria::encode_strategy(file), "fuzz.ckpt") == file,
                "written and read is the same");
    lay_out(file);
  } catch (const cria::FormatError&) {
  }
  try {
    const auto file = cria::parse_strategy_json(cria::text_of(bytes), "fuzz.json");
    for (const auto& [name, layout] : file.layouts)
      cria::check(layout.devices() <= cria::kMaxStrategyDevices, "few enough devices");
    lay_out(file);
  } catch (const cria::FormatError&) {
  }
  return 0;
}
