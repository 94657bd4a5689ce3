"""MindSpore reads our MindRecord files and our checkpoints, and merges those of several ranks."""

import glob
import json
import os
import sys
from pathlib import Path

import mindspore
import numpy as np
from common import Checks, run
from mindspore.dataset import MindDataset
from mindspore.mindrecord import FileReader
from safetensors import safe_open

cria, gguf, scratch, fixtures = sys.argv[1:5]
checks = Checks("mindspore", mindspore.__version__)


def rows_by_file_reader(path):
    reader = FileReader(path)
    rows = [{k: np.array(v) for k, v in row.items()} for row in reader.get_next()]
    reader.close()
    return rows


def rows_by_dataset(paths):
    return list(MindDataset(paths, shuffle=False).create_dict_iterator(num_epochs=1, output_numpy=True))


def equals(rows, ids, labels):
    return len(rows) == len(ids) and all(
        np.array_equal(r["input_ids"], i) and np.array_equal(r["labels"], l) and r["input_ids"].dtype == np.int32
        for r, i, l in zip(rows, ids, labels))


def check_records():
    """Judge: what the recipe's own script wrote for the same conversations."""
    conversations = f"{fixtures}/data/alpaca_small.conversation.json"
    with safe_open(f"{fixtures}/data/alpaca_small.seq512.safetensors", "np") as f:
        flat_ids, flat_labels, offsets = (f.get_tensor(n) for n in ("input_ids", "labels", "offsets"))
    count = len(offsets) - 1
    ids, labels = np.full((count, 513), 128002, np.int32), np.full((count, 513), -100, np.int32)
    for i in range(count):
        n = offsets[i + 1] - offsets[i]
        ids[i, :n], labels[i, :n] = flat_ids[offsets[i]:offsets[i + 1]], flat_labels[offsets[i]:offsets[i + 1]]
    for parts in (1, 4):
        path = f"{scratch}/parts{parts}.mindrecord"
        run(cria, "preprocess", "--dataset_type", "qa", "--input_glob", conversations, "--output_file", path,
            "--model_file", f"{fixtures}/tokenizer/tokenizer.model", "--seq_length", 512, "--file_partition", parts,
            "--compat", "mindformers")
        files = sorted(p for p in glob.glob(path + "*") if not p.endswith((".db", ".json")))
        what = f"{count} rows in {len(files)} file{'s' if len(files) > 1 else ''}"
        first = files[0]  # naming one part opens all of them
        checks.check("FileReader reads the recipe's values from our MindRecord",
                     equals(rows_by_file_reader(files if len(files) > 1 else first), ids, labels), what)
        checks.check("MindDataset reads the recipe's values from our MindRecord",
                     equals(rows_by_dataset(files if len(files) > 1 else first), ids, labels), what)
        if len(files) > 1:
            checks.check("MindDataset opens all parts by the first one's name", equals(rows_by_dataset(first), ids, labels),
                         what)


def bits(tensor):
    """Bytes of a checkpoint's parameter; numpy has no bf16 of its own, so those go through exact fp32."""
    if tensor.dtype == mindspore.bfloat16:
        wide = tensor.astype(mindspore.float32).asnumpy()
        return (wide.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return tensor.asnumpy().tobytes()


def mindformers_name(name):
    """The recipe's renaming, as written in its convert_weight.py."""
    for old, new in (("embed_tokens.weight", "tok_embeddings.embedding_weight"), ("self_attn.q_proj.", "attention.wq."),
                     ("self_attn.k_proj.", "attention.wk."), ("self_attn.v_proj.", "attention.wv."),
                     ("self_attn.o_proj.", "attention.wo."), ("mlp.gate_proj.", "feed_forward.w1."),
                     ("mlp.down_proj.", "feed_forward.w2."), ("mlp.up_proj.", "feed_forward.w3."),
                     ("post_attention_layernorm.", "ffn_norm."), ("input_layernorm.", "attention_norm."),
                     (".norm.", ".norm_out.")):
        name = name.replace(old, new)
    return name


def stored_bytes(path):
    """Tensors of a safetensors file as they lie there, without any library's types."""
    raw = open(path, "rb").read()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    return {n: (t["shape"], raw[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]])
            for n, t in header.items()}


def load(path):
    """By MindSpore, which refuses a file larger than the memory that is free. What holds files read before counts as used to it, so that is
    made to go."""
    room = 2 * os.path.getsize(path) + (256 << 20)
    if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < room:
        np.ones(room, np.uint8)
    return mindspore.load_checkpoint(path)


def check_checkpoints():
    wanted = {"fp32": mindspore.float32, "bf16": mindspore.bfloat16, "fp16": mindspore.float16}
    for dtype, kind in wanted.items():
        folder, path = f"{scratch}/ms-{dtype}", f"{scratch}/ms-{dtype}.ckpt"
        run(cria, "convert", "--input", gguf, "--output", folder, "--dtype", dtype)
        run(cria, "convert-weight", "--model", "llama", "--input_path", folder, "--output_path", path, "--dtype", dtype)
        expected = {mindformers_name(n): t for n, t in stored_bytes(f"{folder}/model.safetensors").items()}
        expected["lm_head.weight"] = expected["model.tok_embeddings.embedding_weight"]
        got = load(path)
        holds = got.keys() == expected.keys() and all(
            got[n].dtype == kind and list(got[n].shape) == shape and bits(got[n]) == data
            for n, (shape, data) in expected.items())
        checks.check(f"load_checkpoint of our .ckpt, {dtype}, has the bytes of the safetensors", holds,
                     f"{len(got)} parameters")


# A small model, its matrices large enough for the optimizer's shards, in layouts that cut every way there is: (words of the run, ranks).
LAYOUTS = {"dp 2, optimizer sharded": ("--dp 2", 2), "tp 2": ("--mp 2", 2),
           "tp 2, vocabulary split": ("--mp 2 --parallel_config.vocab_emb_dp False", 2),
           "pp 2": ("--pp 2 --micro_batch_num 2", 2), "dp 2, tp 2": ("--dp 2 --mp 2", 4),
           "dp 2, tp 2, pp 2": ("--dp 2 --mp 2 --pp 2 --micro_batch_num 2", 8)}
SMALL = " ".join(f"--model.model_config.{key} {value}" for key, value in {
    "hidden_size": 256, "num_layers": 4, "num_heads": 4, "n_kv_heads": 2, "intermediate_size": 768, "vocab_size": 49152,
    "bos_token_id": 1, "eos_token_id": 2}.items())


def check_ranks():
    """One step of training on several ranks; judge: the same step's training checkpoint, which needs no strategy to be read."""
    root = Path(__file__).resolve().parent.parent.parent
    records = f"{scratch}/voice.mindrecord"
    run(cria, "preprocess", "--dataset_type", "qa", "--input_glob", root / "examples/demo/llama_voice.json", "--model_file", gguf,
        "--pad_token", "<|endoftext|>", "--seq_length", 128, "--output_file", records)
    for number, (layout, (words, ranks)) in enumerate(LAYOUTS.items()):
        folder = f"{scratch}/ranks{number}"
        os.environ["LOCAL_DEFAULT_PATH"] = folder
        run(cria, "launch", "--nproc", ranks, "--threads_per_rank", 1, "--log_dir", f"{folder}/logs", "--", "run_llama3", "--config",
            root / "examples/demo/ranks.yaml", "--train_data", records, "--max_steps", 1, "--runner_config.batch_size", 1, *SMALL.split(),
            *words.split())
        merged, full = f"{folder}/merged_strategy.ckpt", f"{folder}/full"
        mindspore.merge_pipeline_strategys(f"{folder}/strategy", merged)
        mindspore.transform_checkpoints(f"{folder}/checkpoint_network", full, "full", merged, None)
        native = glob.glob(f"{folder}/checkpoint/rank_0/native/step-*")[0]
        run(cria, "convert", "--input", native, "--to", "ckpt", "--output", f"{folder}/native.ckpt", "--dtype", "fp32")
        got, expected = load(f"{full}/rank_0/full0.ckpt"), load(f"{folder}/native.ckpt")
        holds = got.keys() == expected.keys() and all(
            list(got[n].shape) == list(t.shape) and bits(got[n]) == bits(t) for n, t in expected.items())
        checks.check(f"transform_checkpoints merges the .ckpt slices of {ranks} ranks ({layout})", holds, f"{len(got)} parameters")


if os.path.isdir(fixtures):
    check_records()
else:
    print(f"SKIP  {checks.peer}: MindRecord checks need the golden files of {fixtures}")
check_checkpoints()
check_ranks()
checks.finish()
