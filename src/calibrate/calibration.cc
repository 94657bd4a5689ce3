#include "calibrate/calibration.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "model/activations.h"
#include "model/decoder_layer.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"

namespace cria {
namespace {

constexpr std::string_view kLayers = "model.layers.";

LlamaConfig one_layer_of(LlamaConfig config) {
  config.num_hidden_layers = 1;
  return config;
}

/// The number of the layer and what follows it: "model.layers.3.mlp.up_proj.weight" is 3 and "mlp.up_proj". -1 for other names.
std::pair<int64_t, std::string> layer_and_matrix(const std::string& name) {
  constexpr std::string_view end = ".weight";
  if (!name.starts_with(kLayers) || !name.ends_with(end)) return {-1, ""};
  const size_t dot = name.find('.', kLayers.size());
  if (dot == std::string::npos || dot + 1 + end.size() > name.size()) return {-1, ""};
  return {std::stoll(name.substr(kLayers.size(), dot - kLayers.size())),
          name.substr(dot + 1, name.size() - end.size() - dot - 1)};
}

}  // namespace

Calibration::Calibration(const WeightSource& source, const LlamaConfig& config,
                         const BlockTypes& types, std::span<const int32_t> ids, int64_t window,
                         ThreadPool& pool)
    : source_(source),
      config_(one_layer_of(config)),
      types_(types),
      window_(window),
      layers_(config.num_hidden_layers),
      exec_{pool},
      rope_(config),
      positions_(static_cast<size_t>(window)) {
  require(window >= 1 && window <= config.max_position_embeddings,
          "calibrate: windows of {} tokens, expected 1 to the model's {}", window,
          config.max_position_embeddings);
  const int64_t windows = std::ssize(ids) / window;
  require(windows > 0, "calibrate: the text has {} tokens, expected at least a window of {}",
          ids.size(), window);
  for (const int32_t id : ids)
    require(id >= 0 && id < config.vocab_size,
            "calibrate: token {} is outside the vocabulary of {}", id, config.vocab_size);
  std::iota(positions_.begin(), positions_.end(), 0);
  stream_ = Tensor(DType::f32, windows * window, config.hidden_size);
  const auto table = source.find("model.embed_tokens.weight");
  require<MismatchError>(table.has_value(), "calibrate: {}: no token embedding", source.path());
  pool.parallel_for(stream_.rows(), [&](int64_t t) {
    source.read_rows(*table, ids[static_cast<size_t>(t)], 1, DType::f32,
                     std::as_writable_bytes(stream_.view().row<float>(t)));
  });
  const int64_t hidden = config.hidden_size, q = config.num_attention_heads * config.head_dim,
                kv = config.num_key_value_heads * config.head_dim, wide = config.intermediate_size;
  qkv_ = Tensor(DType::f32, q + 2 * kv, hidden);
  o_ = Tensor(DType::f32, hidden, q);
  gate_up_ = Tensor(DType::f32, 2 * wide, hidden);
  down_ = Tensor(DType::f32, hidden, wide);
  norms_ = Tensor(DType::f32, 2, hidden);
  const auto add = [&](const char* name, int input, View weights) {
    const DType type = fitting_type(types.matrices, weights.cols, DType::f32);
    matrices_.push_back({name, input, weights, type, {}});
  };
  add("self_attn.q_proj", 0, qkv_.view().row_range(0, q));
  add("self_attn.k_proj", 0, qkv_.view().row_range(q, kv));
  add("self_attn.v_proj", 0, qkv_.view().row_range(q + kv, kv));
  add("self_attn.o_proj", 1, o_.view());
  add("mlp.gate_proj", 2, gate_up_.view().row_range(0, wide));
  add("mlp.up_proj", 2, gate_up_.view().row_range(wide, wide));
  add("mlp.down_proj", 3, down_.view());
}

bool Calibration::chooses(const std::string& name) const {
  const auto [layer, matrix] = layer_and_matrix(name);
  return layer >= 0 && layer < layers_ &&
         std::ranges::any_of(
             matrices_, [&](const Matrix& m) { return m.name == matrix && is_quantised(m.type); });
}

std::span<const std::byte> Calibration::blocks(const std::string& name) {
  const auto [layer, matrix] = layer_and_matrix(name);
  check(layer >= layer_, "layers are asked for in their order");
  // Each layer's input comes from the ones before it, whether their blocks were asked for or not.
  while (layer_ < layer) {
    load(++layer_);
    choose_layer();
  }
  const auto at = std::ranges::find(matrices_, matrix, &Matrix::name);
  check(at != matrices_.end(), "a matrix of the layer is asked for");
  return at->blocks;
}

void Calibration::read(const std::string& name, View to) const {
  const std::string full = fmt::format("{}{}.{}.weight", kLayers, layer_, name);
  const auto index = source_.find(full);
  require<MismatchError>(index.has_value(), "calibrate: {}: no tensor \"{}\"", source_.path(),
                         full);
  exec_.pool.parallel_for((to.rows + 63) / 64, [&](int64_t piece) {
    const View rows = to.row_range(piece * 64, std::min<int64_t>(64, to.rows - piece * 64));
    source_.read_rows(*index, piece * 64, rows.rows, DType::f32, bytes_of(rows));
  });
}

void Calibration::load(int64_t layer) {
  layer_ = layer;
  for (const Matrix& m : matrices_) read(m.name, m.weights);
  read("input_layernorm", norms_.view().row_range(0, 1));
  read("post_attention_layernorm", norms_.view().row_range(1, 1));
}

void Calibration::choose_layer() {
  std::array<Tensor, kInputs> products;
  for (const Matrix& m : matrices_) {
    Tensor& p = products[static_cast<size_t>(m.input)];
    if (p.rows() == 0) p = Tensor(DType::f32, m.weights.cols, m.weights.cols);
  }
  run(&products);
  for (int input = 0; input < kInputs; ++input) {
    Tensor& p = products[static_cast<size_t>(input)];
    const Feedback feedback = feedback_of(p, exec_);
    p = Tensor();
    for (Matrix& m : matrices_) {
      if (m.input != input || !is_quantised(m.type)) continue;
      m.blocks.resize(static_cast<size_t>(bytes_of(m.type, m.weights.elements())));
      round_with_feedback(m.type, m.weights, feedback, m.blocks, exec_);
    }
  }
  run(nullptr);
}

LayerViews<Weight> Calibration::views() const {
  return LayerViews<ConstView>{
      qkv_, o_, gate_up_, down_, norms_.view().row_range(0, 1), norms_.view().row_range(1, 1)}
      .as<Weight>();
}

void Calibration::run(std::array<Tensor, kInputs>* products) {
  Workspace workspace(config_, DType::f32);
  Activations activations(workspace, {Recompute::none});
  const DecoderLayer layer(config_, views(), 1, 0);
  const std::array<int64_t, 2> documents = {0, window_};
  const Context context{
      .positions = positions_, .rope = rope_.covering(window_), .sequences = documents};
  Tensor normed(DType::f32, window_, config_.hidden_size);
  const auto add = [&](int input, ConstView x) {
    ops::linear_weight_grad(x, x, (*products)[static_cast<size_t>(input)], exec_, ops::Into::add);
  };
  for (int64_t t = 0; t < stream_.rows(); t += window_) {
    const View rows = stream_.view().row_range(t, window_);
    activations.prepare({window_, window_}, Keep::nothing);
    ops::convert(rows, activations.input(0), exec_);
    LayerActivations a = activations.layer(0);
    LayerWorkspace& ws = workspace.layer();
    layer.forward(context, a, activations.output(0), ws, exec_);
    if (products == nullptr) {
      ops::convert(activations.output(0), rows, exec_);
      continue;
    }
    // The layer leaves all inputs of its matrices but the first.
    ops::rms_norm(rows, norms_.view().row_range(0, 1), static_cast<float>(config_.rms_norm_eps),
                  normed, {}, exec_);
    add(0, normed);
    add(1, a.attended);
    add(2, ws.normed);
    add(3, ws.hidden);
  }
}

}  // namespace cria
