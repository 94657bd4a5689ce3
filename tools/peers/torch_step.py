"""Full fine-tuning steps in PyTorch eager, timed: torch_step.py HF_FOLDER fp32|bf16|autocast TOKENS STEPS THREADS.

bf16 holds weights, gradients and AdamW's moments in bf16; autocast holds them in fp32 and multiplies in bf16. Prints as JSON the
seconds of each step but the first, and the most memory held, without pages of mapped files (libraries, weights).
"""

import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM

folder, dtype, tokens, steps, threads = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
torch.set_num_threads(threads)
torch.manual_seed(1)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
seconds, processor = [], []
for _ in range(steps + 1):
    ids = torch.randint(0, model.config.vocab_size, (1, tokens))
    start, used = time.perf_counter(), time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "autocast"):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    seconds.append(time.perf_counter() - start), processor.append(time.process_time() - used)
held = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak_kib = int(held["VmHWM"].split()[0]) - int(held["RssFile"].split()[0])
print(json.dumps({"peak_memory_bytes": peak_kib * 1024, "version": torch.__version__, "seconds": seconds[1:], "processor_seconds": processor[1:]}))
