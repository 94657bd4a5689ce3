#include "cli/device_choice.h"

#include <charconv>
#include <string_view>

#include "base/error.h"
#include "cli/default_dtype.h"

namespace cria::cli {

std::unique_ptr<ops::Device> open_device(const std::string& word) {
  if (word == "cpu") return nullptr;
  int number = 0;
  bool known = word == "cuda";
  if (constexpr std::string_view kNumbered = "cuda:"; word.starts_with(kNumbered)) {
    const char* const end = word.data() + word.size();
    const auto [at, error] = std::from_chars(word.data() + kNumbered.size(), end, number);
    known = error == std::errc() && at == end && number >= 0;
  }
  require(known, "--device is \"{}\", expected cpu, cuda or cuda:N", escaped(word));
  return ops::open_cuda_device(number);
}

DType fastest_dtype(const ops::Device* device) {
  return device != nullptr ? DType::bf16 : fastest_dtype();
}

}  // namespace cria::cli
