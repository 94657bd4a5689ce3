"""Full fine-tuning steps in PyTorch eager, to be timed from outside: torch_step.py HF_FOLDER STEPS.safetensors THREADS."""

import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

folder, steps, threads = sys.argv[1:4]
torch.set_num_threads(int(threads))
data = load_file(steps)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
for ids, labels in zip(data["input_ids"], data["labels"]):
    model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
