"""Writes tests/golden/gguf/all_types.gguf with the `gguf` package, the peer of our reader.

For each type there is a tensor NAME and, dequantised by the peer's numpy code, NAME.expected (F32).
Blocks are random bits; only their f16 scales are kept tame. Needs: pip install gguf numpy.
Usage: python make_gguf.py [MODEL.gguf]
With SmolLM2-135M-Instruct.Q4_1.gguf it also writes gguf/smollm2_sha256.txt, one line a tensor: the
SHA-256 of its values as the peer dequantises them (f32, little-endian), and its name.
"""
import hashlib
import pathlib
import sys
from importlib.metadata import version

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q

# type: byte positions of f16 scales in a block
SCALES = {Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0],
          Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208]}
ROWS, COLS = 3, 512


def random_blocks(rng, qtype):
    elements, size = gguf.GGML_QUANT_SIZES[qtype]
    blocks = rng.integers(0, 256, (ROWS, COLS // elements, size), dtype=np.uint8)
    for at in SCALES[qtype]:
        scale = rng.standard_normal((ROWS, COLS // elements, 1)).astype(np.float16)
        blocks[..., at:at + 2] = scale.view(np.uint8)
    return blocks.reshape(ROWS, -1)


def main(folder):
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    w = gguf.GGUFWriter(folder / "all_types.gguf", "llama")
    w.add_uint8("t.u8", 200)
    w.add_int8("t.i8", -100)
    w.add_uint16("t.u16", 60000)
    w.add_int16("t.i16", -30000)
    w.add_uint32("t.u32", 4000000000)
    w.add_int32("t.i32", -2000000000)
    w.add_float32("t.f32", 0.1)
    w.add_bool("t.bool", True)
    w.add_string("t.string", "Grüße, 世界\n")
    w.add_uint64("t.u64", 2**64 - 1)
    w.add_int64("t.i64", -2**63)
    w.add_float64("t.f64", 0.1)
    w.add_array("t.strings", ["a", "", "ĠĠhello", "世"])
    w.add_array("t.floats", [0.5, -1.25, 3.0])
    w.add_array("t.ints", [1, -2, 3])
    w.add_array("t.bools", [True, False])
    w.add_string("peer", f"gguf {version('gguf')}, numpy {np.__version__}")
    for qtype in SCALES:
        blocks = random_blocks(rng, qtype)
        w.add_tensor(qtype.name, blocks, raw_dtype=qtype)
        w.add_tensor(qtype.name + ".expected", gguf.dequantize(blocks, qtype))
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    w.add_tensor("F32", x)
    w.add_tensor("F32.expected", x)
    w.add_tensor("F16", x.astype(np.float16))
    w.add_tensor("F16.expected", x.astype(np.float16).astype(np.float32))
    bits = gguf.quantize(x, Q.BF16)
    w.add_tensor("BF16", bits, raw_dtype=Q.BF16)
    w.add_tensor("BF16.expected", gguf.dequantize(bits, Q.BF16))
    w.add_tensor("I32", np.array([1, -2, 3], np.int32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def hash_model(model, output):
    with output.open("w") as f:
        f.write(f"# gguf {version('gguf')}, numpy {np.__version__}\n")
        for t in gguf.GGUFReader(model).tensors:
            values = np.ascontiguousarray(gguf.dequantize(t.data, t.tensor_type), "<f4")
            f.write(f"{hashlib.sha256(values.tobytes()).hexdigest()} {t.name}\n")


FOLDER = pathlib.Path(__file__).parent / "gguf"
main(FOLDER)
if len(sys.argv) > 1:
    hash_model(sys.argv[1], FOLDER / "smollm2_sha256.txt")
