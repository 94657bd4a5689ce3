"""What the benchmarks of tools/ share: runs of programs, our own measurements, and whether the machine has time for them."""

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
# Above this part of the processors' time, other programs disturb what is measured.
IDLE_SHARE = 0.1


def fail(message):
    sys.exit(f"{Path(sys.argv[0]).stem}: {message}")


def run(*command, cwd=None):
    """(standard output, wall seconds, usage) of a child that must succeed."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err, cwd=cwd)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        out, err = out.read(), err.read()
    if child.returncode != 0:
        fail(f"{' '.join(map(str, command[:4]))}: {err.strip()[-500:]}")
    return out, seconds, usage


def cria_bench(*words):
    """What `cria bench --json` says."""
    return json.loads(run(CRIA, "bench", "--json", *words)[0])


def job_of(report, name):
    return next(j for j in report["jobs"] if j["job"] == name)


def put_between(page, name, lines):
    """Replaces what `page` has between the markers of `name`; a page that does not exist yet is made."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = page.read_text() if page.exists() else f"{begin}\n{end}\n"
    if text.count(begin) != 1 or text.count(end) != 1:
        fail(f"{page}: expected the lines {begin} and {end}, each once")
    page.write_text(text[: text.index(begin)] + "\n".join([begin, *lines, end]) + text[text.index(end) + len(end):])


def processor_s(usage):
    return usage.ru_utime + usage.ru_stime


def summary(values):
    return {"median": statistics.median(values), "best": min(values), "runs": len(values)}


def machine():
    """The processor and the level as `cria bench` names them."""
    return cria_bench("--what", "peaks", "--repeat", 1)["machine"]


def busy_share(seconds=5.0):
    """The part of all processors' time that was in use during the next seconds, while this program sleeps."""
    def ticks():
        fields = [int(v) for v in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]  # idle and waiting for disks

    total, idle = ticks()
    time.sleep(seconds)
    total_after, idle_after = ticks()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def training_steps(model, folder, dtype, rounds, tokens, threads, steps=4):
    """Full fine-tuning steps of one sample: `model` are words of cria bench that name it, `folder` the same weights for PyTorch.

    Ours and PyTorch's processes take turns. `dtype` is fp32; bf16 (PyTorch: weights, gradients and moments too); or autocast
    (PyTorch: products in bf16, all else fp32, as ours). Each gives {"wall_s", "processor_s", "peak_mb"}, ours also shares of the peak.
    """
    ours = {"seconds": [], "processor": [], "mb": [], "shares": []}
    torch = {"seconds": [], "processor": [], "mb": []}
    for _ in range(rounds):
        report = cria_bench(*model, "--what", "train", "--dtype", "fp32" if dtype == "fp32" else "bf16", "--prompt", tokens,
                            "--repeat", steps, "--threads", threads)
        job = job_of(report, "train")
        ours["seconds"] += job["seconds"]["runs"]
        ours["processor"] += [s / threads for s in job["processor_seconds"]["runs"]]
        ours["shares"] += job["share_of_peak"]["runs"]
        ours["mb"].append(job["peak_memory_bytes"] * 1e-6)
        said, _, _ = run(sys.executable, ROOT / "tools/peers/torch_step.py", folder, dtype, tokens, steps, threads)
        said = json.loads(said)
        torch["seconds"] += said["seconds"]
        torch["processor"] += [s / threads for s in said["processor_seconds"]]
        torch["mb"].append(said["peak_memory_bytes"] * 1e-6)

    def cells(side):
        return {"wall_s": summary(side["seconds"]), "processor_s": summary(side["processor"]), "peak_mb": max(side["mb"])}

    return {"ours": cells(ours), "torch": cells(torch) | {"version": said["version"]}, "gflop": job["work"] * 1e-9,
            "peak": job["peak"], "share": statistics.median(ours["shares"]), "best_share": max(ours["shares"])}
