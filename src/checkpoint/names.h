// How others call our parameters. Inside cria a parameter has Hugging Face's name; this file knows all the rest.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/tensor_file.h"

namespace cria {

enum class Dialect { hugging_face, mindformers, meta, gguf };
std::string_view name_of(Dialect dialect);

/// "model.layers.3.self_attn.q_proj.weight" in another dialect, e.g. "blk.3.attn_q.weight" (gguf).
/// Throws std::logic_error for a name that is no Llama parameter.
std::string to_dialect(Dialect dialect, std::string_view hf_name);
/// The other way; nothing for names that are no weights (optimizer state, rotary tables, scalars).
std::optional<std::string> from_dialect(Dialect dialect, std::string_view name);
/// The dialect in which most of these names are weights; nothing when none are.
std::optional<Dialect> detect_dialect(const std::vector<TensorInfo>& tensors);

/// Sorts weights into Hugging Face's state_dict order: embedding, layers, final norm, head. Any string gives a key.
std::pair<int64_t, int64_t> hf_order(std::string_view hf_name);

/// Meta and GGUF rotate neighbouring pairs of q and k, Hugging Face and MindFormers the two halves of a head:
/// their rows stand in another order.
inline bool rotates_pairs(Dialect dialect) {
  return dialect == Dialect::meta || dialect == Dialect::gguf;
}
/// Whether that concerns this parameter (q_proj and k_proj).
bool is_rotated(std::string_view hf_name);
/// The row of the paired layout that holds row `r` of the half layout, heads of `head_dim` rows each; and back.
int64_t paired_row(int64_t r, int64_t head_dim);
int64_t half_row(int64_t r, int64_t head_dim);

}  // namespace cria
