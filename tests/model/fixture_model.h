// Golden models of the fixtures folder, read by a few lines of our own, so that this room's tests need no other room.
#pragma once

#include <gmock/gmock.h>

#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "model/config.h"
#include "model/llama.h"
#include "model/params.h"

namespace cria::testing {

inline std::string fixture_path(const std::string& name) {
  return std::string(CRIA_FIXTURES_DIR) + "/models/" + name;
}

/// Use at the start of a test that needs golden data.
#define CRIA_NEEDS_FIXTURES()                           \
  if (!is_folder(CRIA_FIXTURES_DIR "/models")) {        \
    GTEST_SKIP() << "no fixtures folder at this place"; \
  }                                                     \
  static_assert(true)

/// A well-formed safetensors file, trusted; every tensor as doubles.
class GoldenTensors {
 public:
  explicit GoldenTensors(const std::string& path) : file_(path) {
    const auto text = file_.text();
    uint64_t length = 0;
    std::memcpy(&length, text.data(), sizeof(length));
    header_ = nlohmann::json::parse(text.substr(8, length));
    data_ = text.substr(8 + length);
  }
  [[nodiscard]] bool has(const std::string& name) const { return header_.contains(name); }
  [[nodiscard]] const nlohmann::json& header() const { return header_; }
  [[nodiscard]] std::vector<double> values(const std::string& name) const {
    const auto& entry = header_.at(name);
    const auto begin = entry["data_offsets"][0].get<size_t>();
    const auto end = entry["data_offsets"][1].get<size_t>();
    const std::string_view bytes = data_.substr(begin, end - begin);
    const auto dtype = entry["dtype"].get<std::string>();
    if (dtype == "F64") return widened<double>(bytes);
    if (dtype == "F32") return widened<float>(bytes);
    if (dtype == "BF16") return widened<bf16>(bytes);
    if (dtype == "I32") return widened<int32_t>(bytes);
    throw std::runtime_error("fixture dtype " + dtype);
  }
  [[nodiscard]] std::vector<int64_t> shape(const std::string& name) const {
    return header_.at(name)["shape"].get<std::vector<int64_t>>();
  }

 private:
  template <class T>
  static std::vector<double> widened(std::string_view bytes) {
    std::vector<T> raw(bytes.size() / sizeof(T));
    std::memcpy(raw.data(), bytes.data(), bytes.size());
    std::vector<double> wide;
    for (const T& v : raw) {
      if constexpr (std::is_same_v<T, bf16>) {
        wide.push_back(static_cast<double>(static_cast<float>(v)));
      } else {
        wide.push_back(static_cast<double>(v));
      }
    }
    return wide;
  }
  MappedFile file_;
  nlohmann::json header_;
  std::string_view data_;
};

inline nlohmann::json read_json(const std::string& path) {
  return nlohmann::json::parse(read_text(path));
}

/// Config and weights of models/<name>/<form>, e.g. tiny-llama3/hf-fp32; weights kept in the dtype of the file.
struct FixtureModel {
  LlamaConfig config;
  ParamArena weights;

  static FixtureModel load(const std::string& name, const std::string& form) {
    const std::string folder = fixture_path(name + "/" + form);
    const LlamaConfig config =
        parse_hf_config(read_text(folder + "/config.json"), folder + "/config.json");
    FixtureModel model{config, ParamArena(config, config.torch_dtype.value())};
    const GoldenTensors file(folder + "/model.safetensors");
    for (int64_t i = 0; i < std::ssize(model.weights.params()); ++i) {
      const Param& param = model.weights.params()[static_cast<size_t>(i)];
      const auto values = file.values(param.name);
      EXPECT_EQ(file.shape(param.name), param.shape) << param.name;
      const View to = model.weights[i];
      for (int64_t e = 0; e < to.elements(); ++e) {
        const auto value = static_cast<float>(values[static_cast<size_t>(e)]);
        if (to.dtype == DType::f32) static_cast<float*>(to.data)[e] = value;
        if (to.dtype == DType::bf16) static_cast<bf16*>(to.data)[e] = bf16(value);
      }
    }
    return model;
  }
};

/// Rows of [B, T] ids laid end to end as B documents.
struct OwnedBatch {
  std::vector<int32_t> ids, targets, positions;
  std::vector<int64_t> documents{0};

  void add_document(std::span<const int32_t> tokens, std::span<const int32_t> next) {
    for (size_t t = 0; t < tokens.size(); ++t) {
      ids.push_back(tokens[t]);
      targets.push_back(next[t]);
      positions.push_back(static_cast<int32_t>(t));
    }
    documents.push_back(std::ssize(ids));
  }
  [[nodiscard]] Batch batch() const { return {ids, targets, documents, positions}; }
  [[nodiscard]] int64_t tokens() const { return std::ssize(ids); }
  [[nodiscard]] int64_t trained() const {
    return std::count_if(targets.begin(), targets.end(), [](int32_t t) { return t >= 0; });
  }
};

inline bool same_bits(ConstView a, ConstView b) {
  return a.elements() == b.elements() && a.dtype == b.dtype &&
         std::memcmp(a.data, b.data, static_cast<size_t>(bytes_of(a.dtype, a.elements()))) == 0;
}

}  // namespace cria::testing
