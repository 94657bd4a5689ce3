"""How far our program is from the floor: PyTorch's step, the machine's arithmetic, its memory, and the clock.

    tools/bench_floor.py SmolLM2.gguf [--rounds 3] [--threads 2] [--only step,decode,records,first]

Ours and the other run in turn, and medians are kept, so that a busy machine disturbs both alike; beside them stands the best.
A step or a token is the difference of a long and a short run, divided: loading and first touches cancel. Processor time is that
of the whole process divided by its threads: on an idle machine it is the time on the wall, on a busy one it is steadier. Threads
that wait for one another spin, so beside other work --threads 1 is the fair way.
Numbers go to build/bench_floor.json and as a table to standard output. CRIA names the program (build/release/bin/cria).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRIA = os.environ.get("CRIA", str(ROOT / "build/release/bin/cria"))
FIXTURES = Path(os.environ.get("CRIA_FIXTURES", ROOT / "../shared/fixtures"))
TOKENS, STEPS, FEW_STEPS = 512, 5, 1
THREADS = 2


def run(*command):
    """(standard output, standard error, wall seconds, usage) of a child that must succeed."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        out, err = out.read(), err.read()
    if child.returncode != 0:
        sys.exit(f"bench_floor: {' '.join(map(str, command[:3]))}: {err.strip()[-500:]}")
    return out, err, seconds, usage


def summary(values):
    return {"median": statistics.median(values), "best": min(values), "runs": len(values)}


def machine_peak(scratch):
    program = f"{scratch}/machine_peak"
    run("c++", "-std=c++20", "-O3", "-march=native", "-pthread", ROOT / "bench/floor/machine_peak.cc", "-o", program)
    return lambda: json.loads(run(program, THREADS)[0])


def processor_s(usage):
    return usage.ru_utime + usage.ru_stime


def difference(short, long, units):
    """Wall and processor seconds of one unit, from a short and a long run of the same command."""
    _, _, wall_a, used_a = run(*short)
    _, _, wall_b, used_b = run(*long)
    if processor_s(used_b) <= processor_s(used_a):
        sys.exit(f"bench_floor: {units} units more took no longer: the machine is too busy to measure")
    return (wall_b - wall_a) / units, (processor_s(used_b) - processor_s(used_a)) / units / THREADS, used_b.ru_maxrss / 1024


def write_steps(path, count):
    """One random sample a step, every token trained, as a safetensors file."""
    import numpy as np
    from safetensors.numpy import save_file
    ids = np.random.default_rng(1).integers(0, 49152, (count, 1, TOKENS), dtype=np.int64)
    save_file({"input_ids": ids, "labels": ids}, path)


def step_flops(config):
    """Three times the forward pass: every weight of a product twice, and attention's two products over half the square."""
    width, layers, inner = config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"]
    head = config.get("head_dim", width // config["num_attention_heads"])
    query, key = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    weights = layers * (2 * width * query + 2 * width * key + 3 * width * inner) + config["vocab_size"] * width
    return 3 * TOKENS * (2 * weights + layers * 2 * query * (TOKENS + 1))


def bench_step(gguf, scratch, rounds, peak):
    folder = f"{scratch}/fp32"
    run(CRIA, "convert", "--input", gguf, "--output", folder, "--dtype", "fp32")
    flops = step_flops(json.loads(Path(folder, "config.json").read_text()))
    commands = {"ours": [], "torch": []}
    for count in (FEW_STEPS, STEPS):
        steps = f"{scratch}/{count}.safetensors"
        write_steps(steps, count)
        commands["ours"].append([CRIA, "probe", "--model", folder, "--input", steps, "--output", f"{scratch}/out.safetensors",
                                 "--train", "--lr", "1e-5", "--threads", THREADS])
        commands["torch"].append([sys.executable, ROOT / "tools/peers/torch_step.py", folder, steps, THREADS])
    result, shares = {}, []
    measured = {"ours": [], "torch": []}
    for _ in range(rounds):
        for who, (short, long) in commands.items():
            measured[who].append(difference(short, long, STEPS - FEW_STEPS))
        shares.append(flops / measured["ours"][-1][1] * 1e-9 / peak()["gflops"])
    for who, values in measured.items():
        result[who] = {"wall_s": summary([v[0] for v in values]), "processor_s": summary([v[1] for v in values]),
                       "peak_rss_mb": max(v[2] for v in values)}
    return result | {"gflop": flops * 1e-9, "share_of_fma_peak": statistics.median(shares), "best_share": max(shares)}


def bench_decode(source, scratch, rounds, peak, new_tokens):
    """`source`: arguments of cria convert that name the model."""
    folder = f"{scratch}/decode"
    run(CRIA, "convert", *source, "--output", folder, "--dtype", "bf16")
    size = sum(p.stat().st_size for p in Path(folder).glob("*.safetensors")) * 1e-9
    command = [CRIA, "generate", "--model", folder, "--token_ids", "1,2,3,4,5,6,7,8", "--eos_ids", "none", "--json",
               "--threads", THREADS, "--max_new_tokens"]
    measured, bandwidths = [], []
    for _ in range(rounds):
        measured.append(difference([*command, 1], [*command, 1 + new_tokens], new_tokens))
        bandwidths.append(peak()["read_gb_s"])
    run("rm", "-r", folder)
    shares = [size / m[1] / b for m, b in zip(measured, bandwidths)]
    return {"wall_s": summary([m[0] for m in measured]), "processor_s": summary([m[1] for m in measured]),
            "weights_gb": size, "read_gb_s": statistics.median(bandwidths),
            "share_of_reading": statistics.median(shares), "best_share": max(shares)}


def bench_records(scratch, rounds):
    seconds, processor = [], []
    for i in range(rounds * 3):
        _, _, wall, used = run(CRIA, "preprocess", "--dataset_type", "qa", "--input_glob",
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
            sys.exit("bench_floor: generate printed nothing")
        processor.append(processor_s(used))
    return {"wall_s": summary(seconds), "processor_s": summary(processor)}


def print_table(r):
    print(f"\n{r['date']}, {r['processor']}, {THREADS} threads, load before {r['load_before']:.1f}\n")
    print("| what | ours | floor | share |\n| --- | --- | --- | --- |")
    def cell(v):
        return " / ".join(f"{v[k]['median'] * 1e3:.1f} (best {v[k]['best'] * 1e3:.1f})" for k in ("wall_s", "processor_s"))

    if "step" in r:
        s = r["step"]
        times = s["torch"]["processor_s"]["median"] / s["ours"]["processor_s"]["median"]
        print(f"| step of {TOKENS} tokens, fp32, ms on the wall / of the processor | {cell(s['ours'])} "
              f"| PyTorch {cell(s['torch'])} | {times:.2f} times as fast |")
        print(f"| that step, of the FMA peak | {s['gflop']:.0f} GFLOP | | {s['share_of_fma_peak']:.0%}, best {s['best_share']:.0%} |")
        print(f"| peak memory | {s['ours']['peak_rss_mb']:.0f} MB | PyTorch {s['torch']['peak_rss_mb']:.0f} MB | |")
    for name in ("decode_135m", "decode_1b"):
        if name in r:
            d = r[name]
            print(f"| {name}, {d['weights_gb']:.2f} GB, ms a token | {cell(d)} | {d['read_gb_s']:.1f} GB/s read "
                  f"| {d['share_of_reading']:.0%}, best {d['best_share']:.0%} |")
    for name, goal in (("records", 0.3), ("first_token", 0.5)):
        if name in r:
            wall, processor = r[name]["wall_s"], r[name]["processor_s"]["median"]
            print(f"| {name}, median (best) | {wall['median']:.3f} ({wall['best']:.3f}) s; {processor:.3f} s of processor time "
                  f"| {goal} s | |")


def main():
    global THREADS
    parser = argparse.ArgumentParser()
    parser.add_argument("gguf")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="step,decode,records,first")
    parser.add_argument("--threads", type=int, default=THREADS)
    args = parser.parse_args()
    THREADS = args.threads
    wanted = set(args.only.split(","))
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    results = {"date": time.strftime("%Y-%m-%d"), "processor": model, "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as scratch:
        peak = machine_peak(scratch)
        results["machine"] = peak()
        if "first" in wanted:
            results["first_token"] = bench_first_token(args.gguf, args.rounds)
        if "records" in wanted and FIXTURES.is_dir():
            results["records"] = bench_records(scratch, args.rounds)
        if "decode" in wanted:
            results["decode_135m"] = bench_decode(["--input", args.gguf], scratch, args.rounds, peak, 128)
            results["decode_1b"] = bench_decode(["--random", "1b"], scratch, args.rounds, peak, 64)
        if "step" in wanted:
            results["step"] = bench_step(args.gguf, scratch, args.rounds, peak)
    (ROOT / "build/bench_floor.json").write_text(json.dumps(results, indent=2) + "\n")
    print_table(results)


if __name__ == "__main__":
    main()
