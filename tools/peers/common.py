"""What every check of a peer needs: running our program, and one PASS or FAIL line a claim."""

import json
import subprocess
import sys
from pathlib import Path

PROMPTS = [
    "What is a llama?",
    "Name three primary colours.",
    "Write a short poem about the sea.",
    "Explain why the sky is blue.",
    "Give me a recipe for bread.",
]

# Spaces, digits, contractions, accents, other scripts, emoji: what splits differently when a rule is missing.
TEXTS = PROMPTS + [
    "Hello  world,   it's 12345 o'clock!\n\n\tTabs, and  trailing   ",
    "naïve café Straße ÆØÅ",
    "你好,世界。今天是2024年。",
    "Привет мир! שלום, مرحبا",
    "😀🦙 emoji 👩‍👩‍👧",
    "def f(x):\n    return x**2  # comment\n",
]


class Checks:
    """Counts claims; `finish` leaves with 1 when one of them failed."""

    def __init__(self, peer, version):
        self.peer, self.failed = f"{peer} {version}", 0

    def check(self, claim, holds, detail=""):
        print(f"{'PASS' if holds else 'FAIL'}  {self.peer}: {claim}{' (' + detail + ')' if detail else ''}", flush=True)
        self.failed += not holds

    def finish(self):
        sys.exit(1 if self.failed else 0)


def run(*command):
    """Our program's standard output; its own sentence when it fails."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"FAIL  {' '.join(map(str, command[:2]))}: {done.stderr.strip()[-500:]}")
    return done.stdout


def tokenize(cria, vocabulary, texts, scratch, allow_special=False):
    """Ids of texts by `cria tokenize`."""
    source, target = Path(scratch, "texts.jsonl"), Path(scratch, "ids.jsonl")
    lines = [json.dumps({"text": t, "allow_special": allow_special}) for t in texts]
    source.write_text("\n".join(lines) + "\n")
    run(cria, "tokenize", "--vocab_file", vocabulary, "--input", source, "--output", target)
    return [json.loads(line)["ids"] for line in target.read_text().splitlines()]


def generate(cria, model, prompt_ids, new_tokens, dtype="fp32"):
    """Greedy continuations of id lists by `cria generate`, eos not stopping them."""
    ids = [word for p in prompt_ids for word in ("--token_ids", ",".join(map(str, p)))]
    out = run(cria, "generate", "--model", model, *ids, "--max_new_tokens", new_tokens, "--dtype", dtype,
              "--eos_ids", "none", "--json")
    return json.loads(out)["output_ids"]


def chat_ids(tokenizer):
    """The prompts in a transformers tokenizer's chat layout."""
    return [tokenizer.apply_chat_template([{"role": "user", "content": p}], add_generation_prompt=True, return_dict=False)
            for p in PROMPTS]


def loads_everything(info):
    """Of a transformers model's output_loading_info."""
    return not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]


def greedy_of_transformers(model, prompt_ids, new_tokens):
    """As generate(), by a transformers model."""
    import torch

    model.eval()
    continued = []
    with torch.no_grad():
        for ids in prompt_ids:
            out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                                 max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=False, eos_token_id=[],
                                 pad_token_id=0)
            continued.append(out[0, len(ids):].tolist())
    return continued


def common_prefix(a, b):
    """How many leading items agree."""
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
