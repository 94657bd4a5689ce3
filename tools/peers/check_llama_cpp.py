"""llama.cpp loads our GGUF files, tokenises and generates as we do."""

import ctypes
import json
import sys
from pathlib import Path

import llama_cpp
import numpy as np
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


def quantise(source, target, file_type):
    """llama.cpp's own quantisation: all matrices of the type, the embedding in Q8_0, as `cria quantize` has it."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.pure, params.token_embedding_type = file_type, True, llama_cpp.GGML_TYPE_Q8_0
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) != 0:
        sys.exit(f"FAIL  llama.cpp does not quantise {source}")


def log_probabilities(path, ids):
    """llama.cpp's logarithms of all tokens' probabilities after each token, windows of 512 tokens."""
    model = llama_cpp.Llama(model_path=path, n_ctx=512, n_batch=512, n_threads=2, logits_all=True, verbose=False)
    windows = []
    for at in range(0, len(ids), 512):
        model.reset()
        model.eval(ids[at:at + 512])
        logits = model.scores[:model.n_tokens].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        windows.append(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
    return windows


def perplexity(windows, ids):
    """Of each token after the one before it in its window."""
    losses = []
    for at, window in zip(range(0, len(ids), 512), windows):
        next_ids = ids[at + 1:at + 512]
        losses.extend(-window[range(len(next_ids)), next_ids])
    return float(np.exp(np.mean(losses)))


def divergence(windows, others):
    """Mean Kullback-Leibler divergence of the others from these, in nats a token."""
    return float(np.mean([(np.exp(w) * (w - o)).sum(axis=1).mean() for w, o in zip(windows, others)]))


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

# The same fp32 weights in blocks of few bits, by our quantize and by llama.cpp's own.
demo = json.loads((Path(__file__).parents[2] / "examples/demo/llama_voice_held_back.json").read_text())
text = "\n\n".join(f"{r['instruction']}\n{r['output']}" for r in demo)
ids = tokenize(cria, gguf, [text], scratch)[0][:1536]
full = f"{scratch}/fp32.gguf"
exact = log_probabilities(full, ids)
for name, file_type in (("q8_0", 7), ("q4_0", 2), ("q4_1", 3), ("q5_0", 8), ("q5_1", 9)):
    our_file, their_file = f"{scratch}/{name}.gguf", f"{scratch}/{name}-llama.gguf"
    run(cria, "quantize", "--model", full, "--type", name, "--output", our_file)
    quantise(full, their_file, file_type)
    if name == "q8_0":
        ours, theirs = (llama_cpp.Llama(model_path=f, n_ctx=512, n_threads=1, verbose=False) for f in (our_file, their_file))
        same = [greedy(ours, p) == greedy(theirs, p) for p in prompts]
        checks.check(f"continues our {name} file as its own", all(same), f"{NEW_TOKENS} tokens, {len(same)} prompts")
    ours, theirs = log_probabilities(our_file, ids), log_probabilities(their_file, ids)
    a, b = perplexity(ours, ids), perplexity(theirs, ids)
    checks.check(f"has with our {name} file a perplexity at most 1 % above that with its own", a <= 1.01 * b,
                 f"{a:.3f} and {b:.3f}, fp32 {perplexity(exact, ids):.3f}, {len(ids)} tokens; "
                 f"divergence from fp32 {divergence(exact, ours):.4f} and {divergence(exact, theirs):.4f}")
checks.finish()
