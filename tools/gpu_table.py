#!/usr/bin/env python3
"""Tables of what tools/gpu.sh measured: tools/gpu_table.py OUT [--write], which puts them into docs/performance.md."""

import json
import sys
from pathlib import Path

from bench_common import ROOT, fail, put_between


def peaks(report):
    return "; ".join(f"{p['peak']} {p['per_s'][0]['rate']['median'] / 1e9:.0f} {'GB/s' if p['unit'] == 'bytes' else 'GFLOP/s'}"
                     for p in report["peaks"])


# Parts of tools/gpu.sh that differ from another by more than their settings.
VARIANTS = {"_no_graphs": ", kernels one by one", "_timed": ", timed algorithms"}


def row(part, report, job):
    settings = report["settings"]
    what = {"train": f"a step of {settings['batch']} x {settings['prompt']}", "prefill": f"a prompt of {settings['prompt']}",
            "decode": f"decoding {settings['batch']} at once"}[job["job"]]
    form = settings.get("weights", settings.get("storage", settings["dtype"]))
    if settings.get("recompute") and job["job"] == "train":
        form += ", recomputing"
    form += next((text for end, text in VARIANTS.items() if part.endswith(end)), "")
    reached = job["work_per_s"] / (1e9 if job["unit"] == "bytes" else 1e12)
    unit = "GB/s" if job["unit"] == "bytes" else "TFLOP/s"
    return (f"| {report['model']['name']}, {form} | {what} | {job['tokens_per_s']:.0f} | {reached:.0f} {unit} | "
            f"{100 * job['share_of_peak']['median']:.0f}% of {job['peak']} | {job['peak_memory_bytes'] / 2**30:.1f} |")


def main():
    words = [w for w in sys.argv[1:] if w != "--write"]
    if len(words) != 1:
        fail("usage: tools/gpu_table.py OUT [--write]")
    out = Path(words[0])
    parts = {p.stem: json.loads(p.read_text()) for p in sorted(out.glob("*.json"))}
    if not parts:
        fail(f"{out}: no measurements")
    reports = list(parts.values())
    card = (out / "card.txt").read_text().strip() if (out / "card.txt").exists() else "card unknown"
    lines = [f"{reports[0]['date'][:10]}; {card}; {reports[0]['device']}."]
    lines += [f"Peaks: {peaks(r)}." for r in reports if "model" not in r]
    lines += ["", "| model | what | tokens/s | reached | share | memory, GiB |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [row(part, r, j) for part, r in parts.items() if "model" in r for j in r["jobs"]]
    if "--write" in sys.argv:
        put_between(ROOT / "docs/performance.md", "gpu", lines)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
