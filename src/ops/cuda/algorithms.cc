#include "ops/cuda/algorithms.h"

#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "ops/cuda/attribute.h"

namespace cria::cuda {
namespace {

// The library's manual: an algorithm may be stored, and used again with the same version.
constexpr size_t kWords = sizeof(cublasLtMatmulAlgo_t) / sizeof(uint64_t);

std::string library_and_device(int device) {
  return fmt::format("cuBLASLt {}, compute capability {}.{}, {} multiprocessors",
                     cublasLtGetVersion(), attribute_of(device, cudaDevAttrComputeCapabilityMajor),
                     attribute_of(device, cudaDevAttrComputeCapabilityMinor),
                     attribute_of(device, cudaDevAttrMultiProcessorCount));
}

bool is_algorithm(const Json& words) {
  if (!words.is_array() || words.size() != kWords) return false;
  for (const Json& word : words)
    if (!word.is_number_unsigned()) return false;
  return true;
}

}  // namespace

std::unique_ptr<Algorithms> Algorithms::of_environment(int device) {
  const char* const path = std::getenv("CRIA_CUDA_ALGORITHMS");
  return path != nullptr ? std::make_unique<Algorithms>(path, device) : nullptr;
}

Algorithms::Algorithms(std::string path, int device, int64_t smallest)
    : path_(std::move(path)), made_for_(library_and_device(device)), smallest_(smallest) {
  read();
}

void Algorithms::read() {
  if (!is_file(path_)) return;
  const Json json = parse_json(read_text(path_), "algorithms", path_);
  const auto made_for = json.is_object() ? json.find("made_for") : json.end();
  const auto products = json.is_object() ? json.find("products") : json.end();
  require<FormatError>(made_for != json.end() && made_for->is_string() && products != json.end() &&
                           products->is_object(),
                       "algorithms: {}: expected \"made_for\" and \"products\"; try: another path",
                       path_);
  require<MismatchError>(made_for->get<std::string>() == made_for_,
                         "algorithms: {}: made for {}, this is {}; try: another path", path_,
                         escaped(made_for->get<std::string>(), 200), made_for_);
  for (const auto& [product, words] : products->items()) {
    require<FormatError>(is_algorithm(words), "algorithms: {}: \"{}\" is not {} numbers", path_,
                         escaped(product, 200), kWords);
    const auto numbers = words.get<std::vector<uint64_t>>();
    // What this process has chosen it keeps to.
    cublasLtMatmulAlgo_t algorithm;
    std::memcpy(&algorithm, numbers.data(), sizeof(algorithm));
    known_.emplace(product, algorithm);
  }
}

const cublasLtMatmulAlgo_t* Algorithms::find(const std::string& product) const {
  const auto found = known_.find(product);
  return found == known_.end() ? nullptr : &found->second;
}

void Algorithms::add(const std::string& product, const cublasLtMatmulAlgo_t& algorithm) {
  known_[product] = algorithm;
  read();
  Json products = Json::object();
  for (const auto& [name, known] : known_) {
    std::vector<uint64_t> words(kWords);
    std::memcpy(words.data(), &known, sizeof(known));
    products[name] = words;
  }
  write_file(path_, Json{{"made_for", made_for_}, {"products", products}}.dump(1) + "\n");
}

}  // namespace cria::cuda
