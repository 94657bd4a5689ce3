"""Hugging Face transformers loads our exported folder, tokenises and generates as we do."""

import sys

import torch
import transformers
from common import PROMPTS, TEXTS, Checks, chat_ids, generate, greedy_of_transformers, loads_everything, run, tokenize

cria, gguf, scratch = sys.argv[1:4]
checks = Checks("transformers", transformers.__version__)
folder = f"{scratch}/hf"
run(cria, "convert", "--input", gguf, "--output", folder, "--dtype", "fp32")

tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
ours = tokenize(cria, gguf, TEXTS, scratch)
theirs = [tokenizer.encode(t, add_special_tokens=False) for t in TEXTS]
checks.check("AutoTokenizer from our tokenizer.json gives our ids", ours == theirs, f"{len(TEXTS)} texts")
checks.check("AutoTokenizer decodes our ids to the text", [tokenizer.decode(i) for i in ours] == TEXTS)

chat = chat_ids(tokenizer)
layout = [tokenizer.decode(i) for i in chat]
checks.check("our ids of the chat layout's text are apply_chat_template's",
             tokenize(cria, gguf, layout, scratch, allow_special=True) == chat, f"{len(PROMPTS)} prompts")

model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
checks.check("AutoModelForCausalLM loads every weight",
             loads_everything(info))
expected = greedy_of_transformers(model, chat, 40)
checks.check("greedy continuations of 40 tokens are ours", generate(cria, gguf, chat, 40) == expected,
             f"{len(PROMPTS)} prompts, fp32")
template = [run(cria, "generate", "--model", gguf, "--prompt", p, "--prompt_template", "chatml", "--dtype", "fp32",
                "--max_new_tokens", 12, "--eos_ids", "none").strip() for p in PROMPTS]
checks.check("--prompt_template chatml continues as apply_chat_template",
             template == [tokenizer.decode(e[:12], skip_special_tokens=True).strip() for e in expected])
checks.check("our exported folder generates the same", generate(cria, folder, chat[:1], 40) == expected[:1])
checks.finish()
