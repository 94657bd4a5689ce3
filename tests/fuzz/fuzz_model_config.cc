// Any bytes as Hugging Face's config.json and as Meta's params.json; the config.json we write of an
// accepted one reads back the same.
#include <cmath>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "formats/compressed_config.h"
#include "model/config.h"
#include "ops/rope.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const cria::LlamaConfig config = cria::parse_hf_config(text, "config.json");
    cria::LlamaConfig again =
        cria::parse_hf_config(cria::hf_config_json(config, cria::DType::bf16), "again.json");
    again.torch_dtype = config.torch_dtype;
    // Whole positions are written there.
    again.rope_scaling.original_max_position_embeddings =
        config.rope_scaling.original_max_position_embeddings;
    cria::check(again == config, "our file is the same configuration");
    (void)cria::ops::rope_inverse_frequencies(config.head_dim, config.rope_theta,
                                              config.rope_scaling);
  } catch (const cria::Error&) {
  }
  try {
    const cria::LlamaConfig config = cria::parse_meta_params(text, "params.json");
    (void)cria::hf_config_json(config, cria::DType::f32);
    (void)cria::forward_flops_per_token(config, config.max_position_embeddings);
  } catch (const cria::Error&) {
  }
  try {
    (void)cria::parse_compressed_config(text, "config.json");
  } catch (const cria::Error&) {
  }
  return 0;
}
