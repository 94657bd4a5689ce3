// One small valid file of every kind, made by our own writers: what tests then spoil.
#pragma once

#include <string>

namespace cria::e2e {

/// A folder made once for the whole test program, read only afterwards:
///   tiny/ (Hugging Face, fp32), tiny.safetensors, tiny.safetensors.index.json, tiny.ckpt, tiny.gguf, tiny.bin,
///   tiny.pth, config.json, tok.model, tok.json, alpaca.json, conversations.json, texts.jsonl, probe.safetensors,
///   rows.mindrecord (+ .db, .meta.json), run.yaml (trains tiny/ on the rows), empty_folder/
const std::string& valid_files();

}  // namespace cria::e2e
