"""Writes tests/golden/adamw/torch.json: steps of torch.optim.AdamW on f32 weights, the judge of ops/adamw.h.

Numbers are f32, written exactly. Needs: pip install torch. Usage: python make_adamw.py
"""
import json
import pathlib

import torch

ELEMENTS, STEPS = 19, 6
CASES = [dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01),
         dict(lr=2e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0),
         dict(lr=0.5, betas=(0.5, 0.75), eps=1e-3, weight_decay=0.3)]


def run(case, seed):
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(ELEMENTS, generator=g)
    grads = torch.randn(STEPS, ELEMENTS, generator=g) * torch.logspace(-6, 2, ELEMENTS)
    grads[:, 3] = 0  # an element without gradient only decays
    p = torch.nn.Parameter(weight.clone())
    optimizer = torch.optim.AdamW([p], foreach=False, fused=False, **case)
    after = []
    for grad in grads:
        p.grad = grad.clone()
        optimizer.step()
        after.append(p.detach().tolist())
    state = optimizer.state[p]
    return dict(case, weight=weight.tolist(), grads=grads.tolist(), after=after,
                m=state["exp_avg"].tolist(), v=state["exp_avg_sq"].tolist())


def main():
    out = dict(writer=f"torch {torch.__version__}", cases=[run(c, i) for i, c in enumerate(CASES)])
    path = pathlib.Path(__file__).parent / "adamw" / "torch.json"
    path.write_text(json.dumps(out, indent=1))


main()
