"""torch.load reads what convert_weight --reversed writes; gguf-py reads our GGUF; safetensors is the judge."""

import sys
from importlib.metadata import version

import gguf as gguf_py
import numpy as np
import torch
from common import Checks, run
from safetensors.torch import load_file

cria, gguf, scratch = sys.argv[1:4]
checks = Checks("torch", torch.__version__)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def same(ours, theirs):
    """Equal names, types, shapes and bits."""
    return ours.keys() == theirs.keys() and all(
        ours[n].dtype == theirs[n].dtype and ours[n].shape == theirs[n].shape and
        torch.equal(ours[n].contiguous().view(torch.uint8), theirs[n].contiguous().view(torch.uint8)) for n in ours)


for dtype, wanted in DTYPES.items():
    folder, ckpt, back = f"{scratch}/hf-{dtype}", f"{scratch}/{dtype}.ckpt", f"{scratch}/{dtype}.bin"
    run(cria, "convert", "--input", gguf, "--output", folder, "--dtype", dtype)
    run(cria, "convert-weight", "--model", "llama", "--input_path", folder, "--output_path", ckpt, "--dtype", dtype)
    run(cria, "convert-weight", "--model", "llama", "--input_path", ckpt, "--output_path", back, "--reversed")
    expected = load_file(f"{folder}/model.safetensors")
    expected["lm_head.weight"] = expected["model.embed_tokens.weight"]  # checkpoints of tied models hold both
    got = torch.load(back, weights_only=True)
    checks.check(f"torch.load(weights_only=True) of convert_weight --reversed, {dtype}, equals the weights",
                 same(got, expected) and all(t.dtype == wanted for t in got.values()), f"{len(got)} tensors")

checks.peer = f"gguf-py {version('gguf')}"
path = f"{scratch}/read.gguf"
run(cria, "convert", "--input", gguf, "--output", path, "--dtype", "fp32")
ours, source = gguf_py.GGUFReader(path), gguf_py.GGUFReader(gguf)
originals = {t.name: t for t in source.tensors}
equal = all(np.array_equal(t.data, gguf_py.quants.dequantize(originals[t.name].data, originals[t.name].tensor_type))
            for t in ours.tensors)
checks.check("GGUFReader reads our fp32 GGUF: its own dequantised values of the source",
             equal and {t.name for t in ours.tensors} == set(originals), f"{len(ours.tensors)} tensors")
keys = ["tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.token_type", "llama.block_count",
        "llama.rope.freq_base", "llama.attention.head_count_kv"]
checks.check("GGUFReader finds the source's vocabulary and shape in it",
             all(ours.fields[k].contents() == source.fields[k].contents() for k in keys), f"{len(keys)} keys")
checks.finish()
