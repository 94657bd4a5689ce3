#include "checkpoint/names.h"

#include <array>

#include "base/error.h"

namespace cria {
namespace {

// A row: the part behind "model.layers.N." (or the whole name), in each dialect. Order: hugging_face, mindformers, meta, gguf.
using Row = std::array<std::string_view, 4>;
constexpr std::array<Row, 9> kLayer = {{
    {"self_attn.q_proj.weight", "attention.wq.weight", "attention.wq.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attention.wk.weight", "attention.wk.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attention.wv.weight", "attention.wv.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attention.wo.weight", "attention.wo.weight", "attn_output.weight"},
    {"mlp.gate_proj.weight", "feed_forward.w1.weight", "feed_forward.w1.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "feed_forward.w3.weight", "feed_forward.w3.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "feed_forward.w2.weight", "feed_forward.w2.weight", "ffn_down.weight"},
    {"input_layernorm.weight", "attention_norm.weight", "attention_norm.weight",
     "attn_norm.weight"},
    {"post_attention_layernorm.weight", "ffn_norm.weight", "ffn_norm.weight", "ffn_norm.weight"},
}};
constexpr std::array<Row, 3> kEnds = {{
    {"model.embed_tokens.weight", "model.tok_embeddings.embedding_weight", "tok_embeddings.weight",
     "token_embd.weight"},
    {"model.norm.weight", "model.norm_out.weight", "norm.weight", "output_norm.weight"},
    {"lm_head.weight", "lm_head.weight", "output.weight", "output.weight"},
}};
constexpr Row kPrefix = {"model.layers.", "model.layers.", "layers.", "blk."};

// "12.attn_q.weight" -> 12 and the rest; plain digits without leading zeros only.
std::optional<std::pair<std::string_view, std::string_view>> split_layer(std::string_view name,
                                                                         std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  const size_t dot = name.find('.');
  if (dot == 0 || dot == std::string_view::npos || dot > 4) return std::nullopt;
  const std::string_view number = name.substr(0, dot);
  if (number.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  if (number.size() > 1 && number[0] == '0') return std::nullopt;
  return std::pair(number, name.substr(dot + 1));
}

std::optional<std::string> translate(std::string_view name, Dialect from, Dialect to) {
  const auto f = static_cast<size_t>(from);
  const auto t = static_cast<size_t>(to);
  for (const Row& row : kEnds) {
    if (row[f] == name) return std::string(row[t]);
  }
  if (const auto parts = split_layer(name, kPrefix[f])) {
    for (const Row& row : kLayer) {
      if (row[f] == parts->second) return fmt::format("{}{}.{}", kPrefix[t], parts->first, row[t]);
    }
  }
  return std::nullopt;
}

}  // namespace

std::string_view name_of(Dialect dialect) {
  constexpr std::array<std::string_view, 4> names = {"Hugging Face", "MindFormers", "Meta", "GGUF"};
  return names[static_cast<size_t>(dialect)];
}

std::string to_dialect(Dialect dialect, std::string_view hf_name) {
  auto name = translate(hf_name, Dialect::hugging_face, dialect);
  check(name.has_value(), "every parameter of the table has a name in every dialect");
  return *name;
}

std::optional<std::string> from_dialect(Dialect dialect, std::string_view name) {
  return translate(name, dialect, Dialect::hugging_face);
}

std::optional<Dialect> detect_dialect(const std::vector<TensorInfo>& tensors) {
  std::optional<Dialect> best;
  int64_t most = 0;
  for (const Dialect d :
       {Dialect::hugging_face, Dialect::mindformers, Dialect::meta, Dialect::gguf}) {
    int64_t known = 0;
    for (const TensorInfo& t : tensors) known += from_dialect(d, t.name) ? 1 : 0;
    if (known > most) {
      most = known;
      best = d;
    }
  }
  return best;
}

std::pair<int64_t, int64_t> hf_order(std::string_view hf_name) {
  constexpr auto f = static_cast<size_t>(Dialect::hugging_face);
  if (const auto parts = split_layer(hf_name, kPrefix[f])) {
    int64_t layer = 0;
    for (const char digit : parts->first) layer = layer * 10 + (digit - '0');
    for (size_t i = 0; i < kLayer.size(); ++i) {
      if (kLayer[i][f] == parts->second) return {layer, static_cast<int64_t>(i)};
    }
  }
  constexpr int64_t after_all_layers = 1 << 20;
  for (size_t i = 0; i < kEnds.size(); ++i) {
    if (kEnds[i][f] == hf_name) return {i == 0 ? -1 : after_all_layers, static_cast<int64_t>(i)};
  }
  return {after_all_layers + 1, 0};
}

bool is_rotated(std::string_view hf_name) {
  return hf_name.ends_with("self_attn.q_proj.weight") ||
         hf_name.ends_with("self_attn.k_proj.weight");
}

int64_t paired_row(int64_t r, int64_t head_dim) {
  const int64_t head = r / head_dim, i = r % head_dim, half = head_dim / 2;
  return head * head_dim + (i % half) * 2 + i / half;
}
int64_t half_row(int64_t r, int64_t head_dim) {
  const int64_t head = r / head_dim, i = r % head_dim, half = head_dim / 2;
  return head * head_dim + (i % 2) * half + i / 2;
}

}  // namespace cria
