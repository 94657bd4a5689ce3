"""Our speed beside llama.cpp's, ik_llama.cpp's and PyTorch's, in turn on this machine, as tables and plots.

    tools/bench_peers.py SmolLM2.gguf --llama_bench FILE [--rounds 5] [--threads 2] [--prompt 512] [--tokens 64]
                         [--only llama,torch] [--models bf16,q8_0,q4_0,1b-bf16,1b-q8_0,1b-q4_0]
                         [--trained 135m@512,135m@2048,1b4@512,1b4@2048] [--output FOLDER]

llama.cpp's llama-bench and `cria bench` read the same GGUF files, all matrices of one type: SmolLM2-135M, and random weights of
Llama 3.2 1B's shape. PyTorch takes the same training steps: SmolLM2-135M, and random weights of 1B's widths with 4 layers, one
sample of so many tokens. CRIA_IK_LLAMA_BENCH names ik_llama.cpp's llama-bench, where somebody
built it. Every round runs each program once, one after the other; medians are told.

The tables go between the markers of docs/performance.md and the plots to docs/plots/, unless --output names another folder, or the
machine was busy before or after: then they go to build/bench_peers/, and the end of the run says so. CRIA names the program.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench_common import CRIA, IDLE_SHARE, ROOT, busy_share, cria_bench, job_of, machine, put_between, run, training_steps
from bench_plot import bars

OURS, LLAMA, IK = "cria", "llama.cpp", "ik_llama.cpp"
PAGE = ROOT / "docs/performance.md"
# What 1B's shape needs while both programs read it, and its file.
BIG_MEMORY, BIG_DISK = 8e9, 4e9
SHAPES = {"": "SmolLM2-135M", "1b": "1B shape"}
TRAINED = {"135m": "SmolLM2-135M", "1b4": "1B's widths, 4 layers"}
FOUR_LAYERS = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 8192,
               "num_hidden_layers": 4, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
               "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 8192, "tie_word_embeddings": True,
               "bos_token_id": 128000, "eos_token_id": 128001}
DTYPES = {"fp32": "fp32", "bf16": "bf16, theirs all in bf16", "autocast": "bf16, theirs by autocast"}


def shape_and_type(name):
    """"1b-q4_0" is the 1B shape in q4_0, "q4_0" the small model."""
    shape, _, dtype = name.rpartition("-")
    return shape, dtype


def title_of(name):
    shape, dtype = shape_and_type(name)
    return f"{SHAPES[shape]}, {dtype}"


def export(name, gguf, scratch):
    """The file to measure with, or None and a sentence that says why there is none."""
    shape, dtype = shape_and_type(name)
    path, plain = f"{scratch}/{name}.gguf", f"{scratch}/plain.gguf"
    if shape:
        available = int(re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024
        if available < BIG_MEMORY or shutil.disk_usage(scratch).free < BIG_DISK:
            return None, f"{name}: left out, it wants 8 GB of memory and 4 GB of disk"
        source = ["--random", shape]
    else:
        source = ["--input", gguf]
    if dtype == "bf16":
        run(CRIA, "convert", *source, "--output", path, "--dtype", "bf16")
        return path, None
    if shape:
        run(CRIA, "convert", *source, "--output", plain, "--dtype", "bf16")
        gguf = plain
    run(CRIA, "quantize", "--model", gguf, "--type", dtype, "--embedding", dtype, "--output", path)
    Path(plain).unlink(missing_ok=True)
    return path, None


def rates_of_llama_bench(program, path, args):
    """Tokens a second of reading a prompt and of decoding, each once after a run to warm up."""
    said = json.loads(run(program, "-m", path, "-p", args.prompt, "-n", args.tokens, "-r", 1, "-t", args.threads, "-o", "json")[0])
    return {"prefill": next(t["avg_ts"] for t in said if t["n_gen"] == 0), "decode": next(t["avg_ts"] for t in said if t["n_gen"])}


def rates_of_ours(name, path, args):
    report = cria_bench("--model", path, "--what", "prefill,decode", "--weights", shape_and_type(name)[1], "--repeat", 1,
                        "--prompt", args.prompt, "--tokens", args.tokens, "--threads", args.threads)
    return {job: job_of(report, job)["tokens_per_s"] for job in ("prefill", "decode")}


def measure_inference(gguf, scratch, args, programs):
    """{model: {who: {"prefill": [rates], "decode": [rates]}}}"""
    results = {}
    for name in args.models.split(","):
        path, reason = export(name, gguf, scratch)
        if reason:
            print(reason)
            continue
        measured = {who: {"prefill": [], "decode": []} for who in (OURS, *programs)}
        for _ in range(args.rounds):
            for who, rates in measured.items():
                got = rates_of_ours(name, path, args) if who == OURS else rates_of_llama_bench(programs[who], path, args)
                for job, rate in got.items():
                    rates[job].append(rate)
        results[name] = measured
        os.remove(path)
        print(f"measured {name}", flush=True)
    return results


def trained_folder(name, gguf, scratch):
    """Weights that both train, as PyTorch reads them."""
    folder = Path(f"{scratch}/{name}")
    if not folder.exists():
        config = Path(f"{scratch}/config.json")
        config.write_text(json.dumps(FOUR_LAYERS))
        source = ["--input", gguf] if name == "135m" else ["--random", config]
        run(CRIA, "convert", *source, "--output", folder, "--dtype", "fp32")
    return folder


def measure_training(gguf, scratch, args):
    """[{"model", "tokens", "dtype", and what training_steps() says}]"""
    results = []
    for case in args.trained.split(","):
        name, tokens = case.split("@")
        folder = trained_folder(name, gguf, scratch)
        for dtype in args.dtypes.split(","):
            said = training_steps(["--model", folder], folder, dtype, args.rounds, int(tokens), args.threads, args.steps)
            results.append({"model": name, "tokens": int(tokens), "dtype": dtype} | said)
            print(f"measured training {case} in {dtype}", flush=True)
    return results


def heading(r):
    m = r["machine"]
    return (f"{r['date']}; {m['processor']}, {m['cores']} cores, level `{m['isa']}`, {r['threads']} threads, "
            f"{r['busy_before']:.0%} of the processors in use by others before and {r['busy_after']:.0%} after; "
            f"{r['rounds']} alternating rounds, medians (best); llama.cpp {r['llama']}.")


def inference_table(r):
    whos = list(next(iter(r["inference"].values())))
    lines = [f"Tokens a second: a prompt of {r['prompt']}, then {r['tokens']} tokens decoded one after the other. All matrices of a file have "
             "the type that is named, and all programs multiply it as it is.", "",
             f"| file | what | {' | '.join(whos)} | cria to the fastest other |", f"| --- | --- |{' --- |' * (len(whos) + 1)}"]
    for model, measured in r["inference"].items():
        for job in ("prefill", "decode"):
            medians = {who: statistics.median(v[job]) for who, v in measured.items()}
            cells = [f"{medians[who]:.1f} ({max(measured[who][job]):.1f})" for who in whos]
            ratio = medians[OURS] / max(v for who, v in medians.items() if who != OURS)
            lines.append(f"| {title_of(model)} | {job} | {' | '.join(cells)} | {ratio:.2f} |")
    return lines


def training_table(r):
    lines = [f"A full fine-tuning step of one sample, beside PyTorch {r['training'][0]['torch']['version']} eager. cria keeps weights, "
             "gradients and moments in fp32; with `autocast` PyTorch does too.", "",
             "| what | tokens | computed in | cria, s | PyTorch, s | times as fast | of the peak | memory, MB | PyTorch's |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for t in r["training"]:
        ours, torch = t["ours"]["wall_s"], t["torch"]["wall_s"]
        lines.append(f"| {TRAINED[t['model']]} | {t['tokens']} | {DTYPES[t['dtype']]} "
                     f"| {ours['median']:.2f} ({ours['best']:.2f}) | {torch['median']:.2f} ({torch['best']:.2f}) "
                     f"| {torch['median'] / ours['median']:.2f} | {t['share']:.0%} of {t['peak']} | {t['ours']['peak_mb']:.0f} "
                     f"| {t['torch']['peak_mb']:.0f} |")
    return lines


def plots(r):
    note = f"{r['date']}, {r['machine']['processor']}, level {r['machine']['isa']}, {r['threads']} threads; medians"
    made = {}
    for job, title in (("prefill", f"Reading a prompt of {r['prompt']} tokens, tokens a second"),
                       ("decode", "Decoding, tokens a second")):
        groups = [(title_of(model), [(who, statistics.median(v[job]), f"{statistics.median(v[job]):.1f}")
                                              for who, v in measured.items()]) for model, measured in r["inference"].items()]
        if groups:
            made[f"peers_{job}.svg"] = (title, bars(title, note, groups))
    groups = []
    for t in r["training"]:
        rates = [("cria", t["tokens"] / t["ours"]["wall_s"]["median"]), ("PyTorch", t["tokens"] / t["torch"]["wall_s"]["median"])]
        groups.append((f"{TRAINED[t['model']]}, {t['tokens']}, {DTYPES[t['dtype']]}", [(who, rate, f"{rate:.1f}") for who, rate in rates]))
    if groups:
        title = "Full fine-tuning, tokens a second"
        made["peers_train.svg"] = (title, bars(title, note, groups))
    return made


def write(r, folder, page):
    """Tables into `page` between its markers (alone where it does not exist yet), plots into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [heading(r)]
    if r["inference"]:
        lines += [""] + inference_table(r)
    if r["training"]:
        lines += [""] + training_table(r)
    for name, (title, svg) in plots(r).items():
        (folder / name).write_text(svg)
        lines += ["", f"![{title}]({os.path.relpath(folder / name, page.parent)})"]
    put_between(page, "peers", lines)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("gguf")
    parser.add_argument("--llama_bench", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="training steps of a process, after one that is not counted")
    parser.add_argument("--dtypes", default="fp32,bf16,autocast", help="of training")
    parser.add_argument("--trained", default="135m@512,135m@2048,1b4@512,1b4@2048", help="models and tokens of a sample")
    parser.add_argument("--only", default="llama,torch")
    parser.add_argument("--models", default="bf16,q8_0,q4_0,1b-bf16,1b-q8_0,1b-q4_0")
    parser.add_argument("--output", help="folder of tables and plots, instead of docs/")
    return parser.parse_args()


def main():
    args = arguments()
    programs = {LLAMA: args.llama_bench}
    if os.environ.get("CRIA_IK_LLAMA_BENCH"):
        programs[IK] = os.environ["CRIA_IK_LLAMA_BENCH"]
    version = Path(args.llama_bench).with_name("VERSION")
    results = {"date": time.strftime("%-d %B %Y"), "machine": machine(), "busy_before": busy_share(), "threads": args.threads,
               "rounds": args.rounds, "prompt": args.prompt, "tokens": args.tokens,
               "llama": version.read_text().strip() if version.exists() else "of its owner", "inference": {}, "training": []}
    wanted = set(args.only.split(","))
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as scratch:
        if "llama" in wanted:
            results["inference"] = measure_inference(args.gguf, scratch, args, programs)
        if "torch" in wanted:
            results["training"] = measure_training(args.gguf, scratch, args)
    results["busy_after"] = busy_share()
    busy = max(results["busy_before"], results["busy_after"])
    if args.output or busy > IDLE_SHARE:
        folder = Path(args.output or ROOT / "build/bench_peers")
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / "peers.md"
        page.unlink(missing_ok=True)
        write(results, folder, page)
    else:
        folder, page = ROOT / "docs/plots", PAGE
        write(results, folder, page)
    (ROOT / "build/bench_peers.json").write_text(json.dumps(results, indent=2) + "\n")
    print(f"wrote {page} and {folder}")
    if busy > IDLE_SHARE and not args.output:
        print(f"docs/ is as it was: other programs used {busy:.0%} of the processors; try: again on an idle machine")


if __name__ == "__main__":
    main()
