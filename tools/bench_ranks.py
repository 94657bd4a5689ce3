"""Two ranks with one thread each against one rank with two, in data, pipeline and tensor parallelism.

    tools/bench_ranks.py SmolLM2.gguf [--rounds 3] [--steps 4] [--only dp,pp,tp]

Runs of `examples/demo/ranks.yaml` (128 tokens a sample, fp32) alternate; what counts is the median of all steps but each run's first.
tp takes a random model of 144 M parameters with 8 heads and 4 KV heads, as the 135M model's 9 heads do not divide by two. Numbers go
to build/bench_ranks.json and as a table to standard output. CRIA names the program (build/release/bin/cria).
"""

import argparse
import json
import re
import statistics
import tempfile
from pathlib import Path

from bench_common import CRIA, ROOT, busy_share, fail, machine, run

YAML = ROOT / "examples/demo/ranks.yaml"
RANDOM = " ".join(f"--model.model_config.{key} {value}" for key, value in {
    "hidden_size": 1024, "num_layers": 8, "num_heads": 8, "n_kv_heads": 4, "intermediate_size": 2816, "vocab_size": 49152,
    "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2}.items())
ONE = "--use_parallel False --runner_config.gradient_accumulation_steps"
# What is measured: its kind, the model's words (None: the weights that are given), the samples of a micro batch, one rank's words, two ranks' words.
CASES = {
    "dp 2, 135M, 2 x 4 samples, optimizer sharded": ("dp", None, 4, f"{ONE} 2", "--dp 2"),
    "pp 2 cut by cost, 135M, 16 micro batches of 1": ("pp", None, 1, f"{ONE} 16", "--pp 2 --micro_batch_num 16"),
    "tp 2, 144M, 8 samples": ("tp", RANDOM, 8, f"{ONE} 1", "--mp 2"),
    "tp 2, the same, vocab_emb_dp False": ("tp", RANDOM, 8, f"{ONE} 1", "--mp 2 --parallel_config.vocab_emb_dp False"),
}


def step_ms(words, ranks, records, steps):
    """Milliseconds of every step but the first."""
    with tempfile.TemporaryDirectory() as folder:
        run(CRIA, "launch", "--nproc", ranks, "--threads_per_rank", 2 // ranks, "--log_dir", f"{folder}/logs", "--",
            "run_llama3", "--config", YAML, "--train_data", records, "--max_steps", steps, *words, cwd=folder)
        log = Path(f"{folder}/logs/worker_0.log").read_text()
        times = [float(t) for t in re.findall(r"per_step_time: *([0-9.]+)ms", log)]
        if len(times) != steps:
            fail(f"{len(times)} steps in the log, expected {steps}")
        return times[1:]


def measure(case, gguf, records, rounds, steps):
    _, model, samples, one, two = case
    model = ["--load_checkpoint", gguf] if model is None else model.split()
    shared = [*model, "--runner_config.batch_size", str(samples)]
    alone, together = [], []
    for _ in range(rounds):
        alone += step_ms([*shared, *one.split()], 1, records, steps)
        together += step_ms([*shared, *two.split()], 2, records, steps)
    return {"one_rank_ms": alone, "two_ranks_ms": together,
            "speed": statistics.median(alone) / statistics.median(together)}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("gguf")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", default="dp,pp,tp")
    args = parser.parse_args()
    report = {"machine": machine(), "busy_before": busy_share(), "cases": {}}
    with tempfile.TemporaryDirectory() as folder:
        records = f"{folder}/voice.mindrecord"
        run(CRIA, "preprocess", "--dataset_type", "qa", "--input_glob", ROOT / "examples/demo/llama_voice.json", "--model_file",
            args.gguf, "--pad_token", "<|endoftext|>", "--seq_length", 128, "--output_file", records)
        for name, case in CASES.items():
            if case[0] not in args.only.split(","):
                continue
            report["cases"][name] = result = measure(case, str(Path(args.gguf).resolve()), records, args.rounds, args.steps)
            one, two = result["one_rank_ms"], result["two_ranks_ms"]
            print(f"{name}: {statistics.median(one):.0f} ms ({min(one):.0f} to {max(one):.0f}) on one rank, "
                  f"{statistics.median(two):.0f} ms ({min(two):.0f} to {max(two):.0f}) on two, speed {result['speed']:.2f}", flush=True)
    report["busy_after"] = busy_share()
    (ROOT / "build/bench_ranks.json").write_text(json.dumps(report, indent=1))
    print(f"other programs' share of the processors: {report['busy_before']:.0%} before, {report['busy_after']:.0%} after")


if __name__ == "__main__":
    main()
