"""transformers with compressed-tensors loads our folders of int4 and int8 and continues as we do."""

import sys

import compressed_tensors
import torch
import transformers
from common import PROMPTS, Checks, chat_ids, generate, greedy_of_transformers, loads_everything, run

cria, gguf, scratch = sys.argv[1:4]
checks = Checks("compressed-tensors", compressed_tensors.__version__)
KINDS = [("int4", 64), ("int4", 32), ("int8", 64)]  # SmolLM2's rows of 576 have no groups of 128
for kind, group in KINDS:
    folder = f"{scratch}/{kind}_{group}"
    # Both compute in fp32 with the same numbers: scales are exact, and the embedding is not rounded.
    run(cria, "quantize", "--model", gguf, "--type", kind, "--group", group, "--embedding", "f32", "--output", folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    chat = chat_ids(tokenizer)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True,
        quantization_config=transformers.CompressedTensorsConfig(dequantize=True))
    checks.check(f"AutoModelForCausalLM loads every tensor of {kind} in groups of {group}",
                 loads_everything(info))
    expected = greedy_of_transformers(model, chat, 40)
    checks.check(f"greedy continuations of 40 tokens are ours, {kind} in groups of {group}",
                 generate(cria, folder, chat, 40) == expected, f"{len(PROMPTS)} prompts, fp32")
checks.finish()
