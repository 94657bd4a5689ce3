"""Our speed beside the goals: what part of this machine's own limits a training step, a prompt and decoding reach.

    tools/bench_goals.py SmolLM2.gguf [part...] [--rounds 3] [--again] [--write]

Parts: train prefill avx2 decode batch long neighbour big start; by default all. Each goes to build/bench_goals/<part>.json, and one
that is there is not measured again unless --again is given or the program is newer. The table of all parts that are there goes to
standard output and, with --write, between the markers of docs/performance.md. Shares are of peaks that `cria bench` measures
in the same run, medians; `big` and `start` want 20 GB of memory, `start` 22 GB of disk. CRIA names the program.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_common import CRIA, ROOT, busy_share, cria_bench, fail, job_of, machine, put_between, run
from bench_peers import FOUR_LAYERS

FOLDER = ROOT / "build/bench_goals"
PAGE = ROOT / "docs/performance.md"


def share_row(what, report, job, goal, of=None):
    """A job's share of its peak, or of the peak `of` of the same run; the goal is a share."""
    j = job_of(report, job)
    share, peak = j["share_of_peak"]["median"], j["peak"]
    if of is not None:
        share = j["work"] / j["seconds"]["median"] / peak_of(report, of)
        peak = of
    return {"what": what, "measured": share, "goal": goal, "unit": f"of {peak}", "tokens_per_s": j["tokens_per_s"],
            "peak_memory_bytes": j.get("peak_memory_bytes")}


def peak_of(report, name):
    """The rate of a peak on all threads."""
    rates = next(p["per_s"] for p in report["peaks"] if p["peak"] == name)
    return rates[-1]["rate"]["median"]


def ratio_row(what, measured, goal, unit, **more):
    return {"what": what, "measured": measured, "goal": goal, "unit": unit, **more}


@contextlib.contextmanager
def environment(**words):
    before = dict(os.environ)
    os.environ.update(words)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def part_train(gguf, rounds):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
        json.dump(FOUR_LAYERS, config)
        config.flush()
        models = {"SmolLM2-135M": ("--model", gguf), "1B's widths, 4 layers": ("--random", config.name)}
        rows = []
        for name, words in models.items():
            for dtype in ("fp32", "bf16"):
                for tokens in (512, 2048):
                    report = cria_bench(*words, "--what", "train", "--dtype", dtype, "--prompt", tokens, "--repeat", rounds)
                    native = job_of(report, "train")["peak"] == "bf16 dot products"
                    rows.append(share_row(f"training step, {name}, {tokens} tokens, {dtype}", report, "train", 0.62 if native else 0.75))
    return rows


def part_prefill(gguf, rounds):
    rows = []
    for weights in ("fp32", "bf16", "q8_0", "q4_0", "q4_k"):
        words = ("--dtype", "fp32") if weights == "fp32" else ("--weights", weights)
        report = cria_bench("--random", "1b", "--what", "prefill", *words, "--repeat", rounds)
        goal = 0.65 if weights.startswith("q") else 0.85
        rows.append(share_row(f"prompt of 512, 1B, {weights}", report, "prefill", goal))
    return rows


def part_avx2(gguf, rounds):
    rows = []
    with environment(CRIA_ISA="avx2"):
        for weights, goal in (("q8_0", 1.3), ("q4_0", 1.7)):
            report = cria_bench("--random", "1b", "--what", "prefill", "--weights", weights, "--repeat", rounds)
            rows.append(share_row(f"prompt of 512, 1B, {weights}, level avx2", report, "prefill", goal, of="fp32 multiply-adds"))
    return rows


def part_decode(gguf, rounds):
    return [share_row(f"decoding, 1B, {weights}",
                      cria_bench("--random", "1b", "--what", "decode", "--weights", weights, "--tokens", 32, "--repeat", rounds),
                      "decode", 0.95) for weights in ("bf16", "q8_0", "q4_0")]


def decoded(*words):
    return job_of(cria_bench("--what", "decode", *words), "decode")["tokens_per_s"]


def in_turn(rounds, first, second):
    """Medians of two measurements that take turns."""
    ones, others = [], []
    for _ in range(rounds):
        ones.append(first())
        others.append(second())
    return statistics.median(ones), statistics.median(others)


def part_batch(gguf, rounds):
    rows = []
    for weights in ("bf16", "q8_0", "q4_0"):
        words = ("--random", "1b", "--weights", weights, "--tokens", 16, "--repeat", 1)
        one, many = in_turn(rounds, lambda: decoded(*words), lambda: decoded(*words, "--batch", 16))
        rows.append(ratio_row(f"decoding 16 sequences together, 1B, {weights}", many / one, 6, "times one alone", tokens_per_s=many))
    return rows


def part_long(gguf, rounds):
    def prompt(weights, tokens):
        return job_of(cria_bench("--random", "1b", "--weights", weights, "--what", "prefill", "--prompt", tokens, "--repeat", 1),
                      "prefill")["tokens_per_s"]

    rows = []
    for weights in ("bf16", "q4_0"):
        short, long = in_turn(rounds, lambda: prompt(weights, 512), lambda: prompt(weights, 8192))
        rows.append(ratio_row(f"prompt of 8192, 1B, {weights}", long / short, 0.8, "of the speed of 512", tokens_per_s=long))
    return rows


@contextlib.contextmanager
def neighbour():
    """A program that takes one of the processors."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            yield
        finally:
            busy.kill()


def part_neighbour(gguf, rounds):
    rows = []
    for weights in ("bf16", "q4_0"):
        words = ("--random", "1b", "--weights", weights, "--tokens", 32, "--repeat", 3)

        def disturbed():
            with neighbour():
                return decoded(*words)

        quiet, busy = in_turn(rounds, lambda: decoded(*words), disturbed)
        rows.append(ratio_row(f"decoding beside a program on one of two cores, 1B, {weights}", busy / quiet, 0.6, "of the quiet speed",
                              tokens_per_s=busy))
    return rows


def part_big(gguf, rounds):
    rows = []
    for weights in ("bf16", "q8_0", "q4_0"):
        report = cria_bench("--random", "8b", "--weights", weights, "--what", "prefill,decode", "--tokens", 16, "--repeat", min(rounds, 2))
        rows.append(share_row(f"prompt of 512, 8B, {weights}", report, "prefill", 0.85 if weights == "bf16" else 0.65))
        rows.append(share_row(f"decoding, 8B, {weights}", report, "decode", 0.95))
    return rows


def part_start(gguf, rounds):
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as scratch:
        if shutil.disk_usage(scratch).free < 22e9:
            fail("start: less than 22 GB of disk")
        plain, path = f"{scratch}/8b.gguf", f"{scratch}/8b-q4_0.gguf"
        run(CRIA, "convert", "--random", "8b", "--output", plain, "--dtype", "bf16")
        run(CRIA, "quantize", "--model", plain, "--type", "q4_0", "--embedding", "q4_0", "--output", path)
        Path(plain).unlink()
        ids = ",".join(str(1000 + i) for i in range(8))
        words = (CRIA, "generate", "--model", path, "--token_ids", ids, "--eos_ids", "none", "--json", "--max_new_tokens")
        run(*words, 1)  # the file into the system's cache
        first = [run(*words, 1)[1] for _ in range(rounds)]
        report = cria_bench("--model", path, "--what", "prefill", "--prompt", 8, "--repeat", rounds)
        prompt = job_of(report, "prefill")["seconds"]["median"]
    start = statistics.median(first) - prompt
    return [ratio_row("start, 8B q4_0 file: first token without the prompt's time", start, 1.0, "s, at most", below=True)]


PARTS = {name.removeprefix("part_"): part for name, part in list(globals().items()) if name.startswith("part_")}


def reached(row):
    return row["measured"] <= row["goal"] if row.get("below") else row["measured"] >= row["goal"]


def number(row, value):
    return f"{value:.0%}" if row["unit"].startswith("of") and row["goal"] < 1 else f"{value:.2f}"


def table(parts):
    lines = ["| what | measured | goal | tokens/s | day, level |", "| --- | --- | --- | --- | --- |"]
    for part in parts:
        for row in part["rows"]:
            speed = f"{row['tokens_per_s']:.4g}" if row.get("tokens_per_s") else ""
            mark = "" if reached(row) else " (missed)"
            lines.append(f"| {row['what']} | {number(row, row['measured'])} {row['unit']}{mark} | {number(row, row['goal'])} | {speed} | "
                         f"{part['day']}, `{part['isa']}` |")
    return lines


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("gguf")
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    for name in args.parts:
        if name not in PARTS:
            fail(f"no part {name}; there are {' '.join(PARTS)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in args.parts or PARTS:
        path = FOLDER / f"{name}.json"
        if path.exists() and not args.again and path.stat().st_mtime > Path(CRIA).stat().st_mtime:
            continue
        before = busy_share()
        started = time.time()
        rows = PARTS[name](str(Path(args.gguf).resolve()), args.rounds)
        here = machine()
        path.write_text(json.dumps({"part": name, "day": time.strftime("%-d %B %Y"), "processor": here["processor"], "isa": here["isa"],
                                    "busy_before": before, "busy_after": busy_share(), "rows": rows}, indent=1))
        print(f"{name}: {len(rows)} rows in {time.time() - started:.0f} s, other programs {before:.0%} before", flush=True)
    parts = [json.loads((FOLDER / f"{name}.json").read_text()) for name in PARTS if (FOLDER / f"{name}.json").exists()]
    lines = table(parts)
    print("\n".join(lines))
    if args.write:
        busiest = max(max(p["busy_before"], p["busy_after"]) for p in parts)
        head = (f"{parts[-1]['processor']}, {os.cpu_count()} cores; medians; other programs had at most {busiest:.0%} of the processors before and "
                "after each part.")
        put_between(PAGE, "goals", [head, "", *lines])


if __name__ == "__main__":
    main()
