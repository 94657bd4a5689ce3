#include "checkpoint/native_content.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "checkpoint/names.h"
#include "checkpoint/step_parts.h"
#include "formats/element_cast.h"
#include "model/params.h"

namespace cria {

NativeContent content_of_step(const CheckpointFiles& step) {
  const LlamaConfig config = config_of_step(step);
  NativeContent content;
  content.step = step.manifest().step;
  content.config_json = read_text(join_path(step.folder(), "config.json"));
  content.state_json = step.manifest().state_json;
  const std::vector<Param> params = llama_params(config);
  for (const auto& [group, tensors] : step.manifest().groups) {
    require<MismatchError>(tensors.size() == params.size(),
                           "transform: {}: {} tensors of {}, by its config {}", step.folder(),
                           tensors.size(), group, params.size());
    for (const Param& p : params) {
      const StoredTensor& stored = tensor_of_step(step, group, p);
      content.tensors.push_back(
          {group, p.name, stored.dtype, stored.shape,
           [&step, &stored, name = name_prefix(group) + p.name](const Part& part, auto out) {
             step.read_box(name, stored, rect_of(part.begin, part.size), out);
           }});
    }
  }
  return content;
}

namespace {

/// The parameters of a .ckpt by name.
class CkptParts {
 public:
  CkptParts(const PartReader& source, const std::string& path) : source_(source), path_(path) {
    for (size_t i = 0; i < source.tensors().size(); ++i) index_[source.tensors()[i].info.name] = i;
  }

  [[nodiscard]] std::optional<size_t> find(const std::string& name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? std::nullopt : std::optional(found->second);
  }
  /// Of this shape; the hint says what else to do when it is missing.
  [[nodiscard]] size_t get(const std::string& name, const std::vector<int64_t>& shape,
                           std::string_view hint) const {
    const auto index = find(name);
    require<MismatchError>(index.has_value(), "transform: {}: no \"{}\"; try: {}", path_, name,
                           hint);
    const std::vector<int64_t>& found = info(*index).shape;
    require<MismatchError>(found == shape, "transform: {}: \"{}\" is [{}], by the config [{}]",
                           path_, name, fmt::join(found, ", "), fmt::join(shape, ", "));
    return *index;
  }
  [[nodiscard]] const TensorInfo& info(size_t index) const { return source_.tensors()[index].info; }
  [[nodiscard]] ReadPart reader(size_t index) const {
    return
        [&source = source_, index](const Part& part, auto out) { source.read(index, part, out); };
  }
  /// A tensor of one element; 0-d or [1], as MindSpore has both.
  [[nodiscard]] std::optional<double> number(const std::string& name) const {
    const auto index = find(name);
    if (!index) return std::nullopt;
    const TensorInfo& t = info(*index);
    std::array<std::byte, 8> bytes = {};
    const auto size = static_cast<size_t>(block_bytes(t.dtype));
    require<MismatchError>(t.elements() == 1, "transform: {}: \"{}\" is [{}], expected one number",
                           path_, name, fmt::join(t.shape, ", "));
    source_.read(*index, whole(t.shape), std::span(bytes).first(size));
    const auto as = [&](auto value) {
      std::memcpy(&value, bytes.data(), sizeof value);
      return static_cast<double>(value);
    };
    switch (t.dtype) {
      case DType::i32:
        return as(int32_t{});
      case DType::i64:
        return as(int64_t{});
      case DType::f32:
        return as(float{});
      default:
        throw MismatchError(
            fmt::format("transform: {}: \"{}\" is {}", path_, name, name_of(t.dtype)));
    }
  }
  [[nodiscard]] int64_t count(const std::string& name) const {
    const auto value = number(name);
    require<MismatchError>(value.has_value(),
                           "transform: {}: no \"{}\"; try: a checkpoint with the optimizer's state "
                           "(not checkpoint_network)",
                           path_, name);
    require<MismatchError>(*value >= 0 && *value < 1e15 && *value == std::floor(*value),
                           "transform: {}: \"{}\" is {}, expected a count", path_, name, *value);
    return static_cast<int64_t>(*value);
  }

  /// A tied model trained elsewhere has two tables, which must not have gone apart.
  void check_same(size_t a, size_t b) const {
    const TensorInfo& t = info(a);
    const int64_t row_bytes = bytes_of(t.dtype, t.shape[1]);
    const int64_t at_once = std::clamp<int64_t>((4 << 20) / row_bytes, 1, t.shape[0]);
    std::vector<std::byte> left, right;
    for (int64_t row = 0; row < t.shape[0]; row += at_once) {
      const int64_t rows = std::min(at_once, t.shape[0] - row);
      const Part slab{{row, 0}, {rows, t.shape[1]}};
      left.resize(static_cast<size_t>(rows * row_bytes));
      right.resize(left.size());
      source_.read(a, slab, left);
      source_.read(b, slab, right);
      require<MismatchError>(left == right,
                             "transform: {}: \"{}\" and \"{}\" differ, but the config ties them; "
                             "try: \"tie_word_embeddings\": false in it",
                             path_, info(a).name, info(b).name);
    }
  }

 private:
  const PartReader& source_;
  const std::string& path_;
  std::map<std::string, size_t> index_;
};

/// Zeros, which no file has.
void read_zeros(const Part& /*part*/, std::span<std::byte> out) {
  std::ranges::fill(out, std::byte{0});
}

/// What a run makes of weights at its start (TrainState::start).
std::optional<NativeTensor> master_of(const NativeTensor& weight) {
  if (weight.dtype == DType::bf16)
    return NativeTensor{"master_lo", weight.name, DType::i16, weight.shape, read_zeros};
  if (weight.dtype != DType::f16) return std::nullopt;
  return NativeTensor{"master", weight.name, DType::f32, weight.shape,
                      [read = weight.read](const Part& part, std::span<std::byte> out) {
                        std::vector<std::byte> halves(out.size() / 2);
                        std::vector<float> values(out.size() / 4);
                        read(part, halves);
                        to_f32(DType::f16, halves, values);
                        from_f32(values, DType::f32, out);
                      }};
}

std::string state_of(const CkptParts& parts, int64_t batches) {
  const int64_t updates = parts.count("global_step");
  return Json({{"data", "unknown"},
               {"batches_done", batches},
               {"updates", updates},
               {"skipped", std::max<int64_t>(0, batches - updates)},
               {"skipped_in_a_row", 0},
               {"samples_seen", 0},
               {"tokens_seen", 0},
               {"loss_scale",
                {{"scale", parts.number("loss_scale").value_or(1.0)},
                 {"counter", 0},
                 {"last_overflow", 0},
                 {"rung", 0},
                 {"rises", 0},
                 {"falls", 0}}}})
      .dump();
}

}  // namespace

NativeContent content_of_ckpt(const PartReader& source, const LlamaConfig& config,
                              const std::string& path) {
  const CkptParts parts(source, path);
  const std::vector<Param> params = llama_params(config);
  NativeContent content;
  std::vector<NativeTensor> masters;
  for (const std::string group : {"weights", "adam_m", "adam_v"}) {
    const std::string prefix = name_prefix(group);
    for (const Param& p : params) {
      const std::string name = prefix + to_dialect(Dialect::mindformers, p.name);
      const size_t index = parts.get(
          name, p.shape,
          group == "weights" ? "the config of the network that was saved"
                             : "a checkpoint with the optimizer's state (not checkpoint_network)");
      const DType dtype = parts.info(index).dtype;
      const DType expected = group != "weights"        ? DType::f32
                             : content.tensors.empty() ? dtype
                                                       : content.tensors[0].dtype;
      require<MismatchError>(dtype == expected && dtype <= DType::bf16,
                             "transform: {}: \"{}\" is {}, expected {}", path, name, name_of(dtype),
                             dtype == expected ? "F32, F16 or BF16" : name_of(expected));
      content.tensors.push_back({group, p.name, dtype, p.shape, parts.reader(index)});
      if (group != "weights") continue;
      if (auto master = master_of(content.tensors.back())) masters.push_back(std::move(*master));
    }
    const auto head = parts.find(prefix + to_dialect(Dialect::mindformers, "lm_head.weight"));
    if (config.tie_word_embeddings && head) {
      const std::string name = prefix + to_dialect(Dialect::mindformers, params[0].name);
      parts.check_same(parts.get(name, params[0].shape, ""),
                       parts.get(parts.info(*head).name, params[0].shape, ""));
    }
  }
  content.config_json = hf_config_json(config, content.tensors[0].dtype);
  std::ranges::move(masters, std::back_inserter(content.tensors));
  content.step = parts.count("step_num");
  content.state_json = state_of(parts, content.step);
  return content;
}

}  // namespace cria
