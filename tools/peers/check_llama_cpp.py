"""llama.cpp loads our GGUF files, tokenises and generates as we do."""

import sys

import llama_cpp
from common import PROMPTS, TEXTS, Checks, common_prefix, generate, run, tokenize

cria, gguf, scratch = sys.argv[1:4]
checks = Checks("llama-cpp-python", llama_cpp.__version__)
NEW_TOKENS, MUST_AGREE = 40, 16


def greedy(model, ids):
    """Likeliest next tokens, one by one."""
    out = []
    for token in model.generate(ids, temp=0.0, top_k=1, repeat_penalty=1.0):
        out.append(token)
        if len(out) == NEW_TOKENS:
            return out
    return out


chat = [f"<|im_start|>user\n{p}<|im_end|>\n<|im_start|>assistant\n" for p in PROMPTS]
prompts = tokenize(cria, gguf, chat, scratch, allow_special=True)
for dtype in ("fp32", "bf16", "fp16"):
    path = f"{scratch}/{dtype}.gguf"
    run(cria, "convert", "--input", gguf, "--output", path, "--dtype", dtype)
    model = llama_cpp.Llama(model_path=path, n_ctx=512, n_threads=1, verbose=False)
    if dtype == "fp32":
        theirs = [model.tokenize(t.encode(), add_bos=False, special=False) for t in TEXTS]
        checks.check("tokenises with the vocabulary in our GGUF as we do",
                     theirs == tokenize(cria, gguf, TEXTS, scratch), f"{len(TEXTS)} texts")
        special = [model.tokenize(t.encode(), add_bos=False, special=True) for t in chat]
        checks.check("tokenises the chat layout as we do", special == prompts)
    # It multiplies 16-bit weights by 16-bit activations, so that near ties may fall the other way late.
    ours = generate(cria, path, prompts, NEW_TOKENS)
    agree = [common_prefix(o, greedy(model, p)) for o, p in zip(ours, prompts)]
    checks.check(f"continues our {dtype} GGUF as we do for {MUST_AGREE} tokens", min(agree) >= MUST_AGREE,
                 f"agreeing of {NEW_TOKENS}: {', '.join(map(str, agree))}")
checks.finish()
