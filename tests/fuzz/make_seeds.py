#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets: one small valid file of each kind, written by the formats' own libraries.

Those of fuzz_ckpt and fuzz_strategy were written by MindSpore and are not made here.
Needs numpy, torch, safetensors and gguf; `./dev golden` installs them.
"""
import io
import json
import pathlib
import zipfile

import gguf
import numpy as np
import safetensors.numpy
import torch

SEEDS = pathlib.Path(__file__).resolve().parent / "seeds"


def put(target, name, content):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def byte_alphabet():
    """GPT-2's printable character of every byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b if b in kept else next(others)) for b in range(256)]


def make_gguf():
    path = SEEDS / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(8)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = byte_alphabet() + ["ab", "<|end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 257 + [3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(257)
    writer.add_tensor("token_embd.weight", np.zeros((4, 8), np.float16))
    writer.add_tensor("rope_freqs.weight", np.ones(2, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    content = path.read_bytes()
    path.unlink()
    put("fuzz_gguf", "tiny.gguf", content)
    put("fuzz_gguf_model", "tiny.gguf", content)


def make_torch():
    out = io.BytesIO()
    whole = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    torch.save({"a": whole, "b": whole.t(), "c": torch.zeros(3, dtype=torch.bfloat16)}, out)
    put("fuzz_zip", "tensors.pth", out.getvalue())
    with zipfile.ZipFile(out) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        put("fuzz_pickle", "data.pkl", archive.read(name))


def make_json():
    tensors = {"a": np.zeros((2, 3), np.float32), "b": np.ones(2, np.float16)}
    put("fuzz_safetensors", "two.safetensors", safetensors.numpy.save(tensors, {"format": "pt"}))
    index = {"metadata": {"total_size": 28}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    put("fuzz_safetensors", "index.json", json.dumps(index))
    config = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 300,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": True,
        "bos_token_id": 1, "eos_token_id": [2, 3], "torch_dtype": "bfloat16", "attention_bias": False,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 8192}}
    put("fuzz_model_config", "config.json", json.dumps(config))
    params = {"dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": -1, "multiple_of": 256,
              "ffn_dim_multiplier": 1.3, "norm_eps": 1e-5, "rope_theta": 500000.0, "use_scaled_rope": True}
    put("fuzz_model_config", "params.json", json.dumps(params))
    manifest = {
        "format": "cria training checkpoint", "version": 1, "step": 3, "config_sha256": "ab",
        "topology": {"dp": 1, "tp": 1, "pp": 1}, "groups": {"model": "model.safetensors"}, "block_bytes": 4194304,
        "files": {"model.safetensors": {"size": 8, "sha256": "cd", "crc32c": [1]}}, "state": {"updates": 3}}
    put("fuzz_manifest", "body.json", json.dumps(manifest, separators=(",", ":")))
    meta = {
        "kind": "cria data set", "cria_version": "1", "dataset_type": "qa", "prompt_template": "vicuna",
        "compat": "none", "allow_special": False, "tokenizer_sha256": "ab", "vocab_size": 300, "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 0, "seq_length": 64, "records": 3, "tokens": 90, "trained_tokens": 60,
        "truncated": 0}
    put("fuzz_dataset_meta", "meta.json", json.dumps(meta))
    put("fuzz_tokenizer_settings", "tokenizer_config.json", json.dumps({
        "bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": None,
        "chat_template": [{"name": "default", "template": "x"}]}))
    put("fuzz_tokenizer_settings", "generation_config.json",
        json.dumps({"bos_token_id": 2, "eos_token_id": [3, 1], "pad_token_id": None}))
    put("fuzz_json", "all.json", '{"a": [1, -2, 3.5e-7, true, false, null, "\\u00e9\\ud83d\\ude00\\\\\\"", {}]}')
    put("fuzz_alpaca", "two.json", json.dumps([
        {"instruction": "Say hi.", "input": "", "output": "Hi."}, {"instruction": "Add.", "input": "1 2", "output": "3"}]))
    put("fuzz_conversations", "two.json", json.dumps([
        {"id": "1", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"id": "2", "conversations": [{"from": "human", "value": "c"}, {"from": "gpt", "value": "d"}]}]))


def make_text():
    put("fuzz_names", "hf", "model.layers.3.self_attn.q_proj.weight")
    put("fuzz_names", "mindformers", "model.layers.3.attention.wq.weight")
    put("fuzz_names", "meta", "layers.3.attention.wq.weight")
    put("fuzz_names", "gguf", "blk.3.attn_q.weight")
    put("fuzz_tokenizer_model", "words", "\1YWI= 256\nYWJj 257\n")
    put("fuzz_tokenize", "text", "I'll say: <|a|>b  the 12345 \u00e9 e\u0301\n\n\tthe!!! ")
    put("fuzz_strategy", "one.json", json.dumps({
        "model.norm_out.weight": {
            "dev_matrix": [2, 2], "tensor_map": [-1], "tensor_shape": [64], "opt_weight_shard_step": 0,
            "opt_weight_shard_size": 0, "field_size": 0}}))
    put("fuzz_wiki_text", "part", ' = Title = \n\n The " first " line @-@ ends , ( here ) .\n\n = = Next = = \n\n \' 5 \'\n')
    put("fuzz_flags", "line", "--model\0x\0--max-steps=3\0--seed\0-1\0--resume\0--top_p\x000.5\0--predict_data\0a\0b"
        "\0--runner_config.epochs\0003\0file\0--res\0false\0--weights=y\0")
    put("fuzz_mindrecord_index", "patch", bytes([0, 1, 7, 100, 0, 255, 24, 0, 9]))


if __name__ == "__main__":
    SEEDS.mkdir(exist_ok=True)
    make_gguf()
    make_torch()
    make_json()
    make_text()
