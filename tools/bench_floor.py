"""How far our program is from the floor: PyTorch's step, the machine's arithmetic, its memory, and the clock.

    tools/bench_floor.py SmolLM2.gguf [--rounds 3] [--threads 2] [--only step,decode,records,first]

Ours and the other run in turn, and medians are kept, so that a busy machine disturbs both alike; beside them stands the best.
Processor time is that of the whole process divided by its threads: on an idle machine it is the time on the wall, on a busy one it
is steadier. Threads that wait for one another spin, so beside other work --threads 1 is the fair way.
Numbers go to build/bench_floor.json and as a table to standard output. CRIA names the program (build/release/bin/cria).
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from bench_common import CRIA, ROOT, cria_bench, fail, job_of, machine, processor_s, run, summary, training_steps

FIXTURES = Path(os.environ.get("CRIA_FIXTURES", ROOT / "../shared/fixtures"))
TOKENS = 512


def bench_step(gguf, scratch, rounds, threads):
    folder = f"{scratch}/fp32"
    run(CRIA, "convert", "--input", gguf, "--output", folder, "--dtype", "fp32")
    return training_steps(["--model", folder], folder, "fp32", rounds, TOKENS, threads)


def bench_decode(model, rounds, threads):
    """`model`: words of cria bench that name it."""
    report = cria_bench(*model, "--what", "decode", "--dtype", "bf16", "--repeat", 3 * rounds, "--threads", threads)
    job = job_of(report, "decode")
    def each(runs):
        return summary([s / job["tokens"] for s in runs])

    return {"wall_s": each(job["seconds"]["runs"]), "processor_s": each([s / threads for s in job["processor_seconds"]["runs"]]),
            "gb": job["work_per_token"] * 1e-9, "read_gb_s": job["peak_per_s"]["median"] * 1e-9,
            "share_of_reading": job["share_of_peak"]["median"], "best_share": job["best_share_of_peak"]}


def bench_records(scratch, rounds):
    seconds, processor = [], []
    for i in range(rounds * 3):
        _, wall, used = run(CRIA, "preprocess", "--dataset_type", "qa", "--input_glob",
                            FIXTURES / "data/alpaca_small.conversation.json", "--output_file",
                            f"{scratch}/{i}.mindrecord", "--model_file", FIXTURES / "tokenizer/tokenizer.model",
                            "--seq_length", 2048)
        seconds.append(wall), processor.append(processor_s(used))
    return {"wall_s": summary(seconds), "processor_s": summary(processor)}


def bench_first_token(gguf, rounds):
    seconds, processor = [], []
    for _ in range(rounds * 3):
        start = time.perf_counter()
        child = subprocess.Popen([CRIA, "generate", "--model", gguf, "--prompt", "What is a llama?", "--prompt_template",
                                  "chatml", "--max_new_tokens", "1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        first = child.stdout.read(1)
        seconds.append(time.perf_counter() - start)
        child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if not first or child.returncode != 0:
            fail("generate printed nothing")
        processor.append(processor_s(used))
    return {"wall_s": summary(seconds), "processor_s": summary(processor)}


def print_table(r):
    print(f"\n{r['date']}, {r['machine']['processor']}, level {r['machine']['isa']}, {r['threads']} threads, "
          f"load before {r['load_before']:.1f}\n")
    print("| what | ours | floor | share |\n| --- | --- | --- | --- |")
    def cell(v):
        return " / ".join(f"{v[k]['median'] * 1e3:.1f} (best {v[k]['best'] * 1e3:.1f})" for k in ("wall_s", "processor_s"))

    if "step" in r:
        s = r["step"]
        times = s["torch"]["processor_s"]["median"] / s["ours"]["processor_s"]["median"]
        print(f"| step of {TOKENS} tokens, fp32, ms on the wall / of the processor | {cell(s['ours'])} "
              f"| PyTorch {s['torch']['version']} {cell(s['torch'])} | {times:.2f} times as fast |")
        print(f"| that step, of the {s['peak']} peak | {s['gflop']:.0f} GFLOP | | {s['share']:.0%}, best {s['best_share']:.0%} |")
        print(f"| peak memory | {s['ours']['peak_mb']:.0f} MB | PyTorch {s['torch']['peak_mb']:.0f} MB | |")
    for name in ("decode_135m", "decode_1b"):
        if name in r:
            d = r[name]
            print(f"| {name}, {d['gb']:.2f} GB, ms a token | {cell(d)} | {d['read_gb_s']:.1f} GB/s read "
                  f"| {d['share_of_reading']:.0%}, best {d['best_share']:.0%} |")
    for name, goal in (("records", 0.3), ("first_token", 0.5)):
        if name in r:
            wall, processor = r[name]["wall_s"], r[name]["processor_s"]["median"]
            print(f"| {name}, median (best) | {wall['median']:.3f} ({wall['best']:.3f}) s; {processor:.3f} s of processor time "
                  f"| {goal} s | |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("gguf")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="step,decode,records,first")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    wanted = set(args.only.split(","))
    results = {"date": time.strftime("%Y-%m-%d"), "threads": args.threads, "load_before": os.getloadavg()[0], "machine": machine()}
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as scratch:
        if "first" in wanted:
            results["first_token"] = bench_first_token(args.gguf, args.rounds)
        if "records" in wanted and FIXTURES.is_dir():
            results["records"] = bench_records(scratch, args.rounds)
        if "decode" in wanted:
            results["decode_135m"] = bench_decode(["--model", args.gguf], args.rounds, args.threads)
            results["decode_1b"] = bench_decode(["--random", "1b"], args.rounds, args.threads)
        if "step" in wanted:
            results["step"] = bench_step(args.gguf, scratch, args.rounds, args.threads)
    (ROOT / "build/bench_floor.json").write_text(json.dumps(results, indent=2) + "\n")
    print_table(results)


if __name__ == "__main__":
    main()
