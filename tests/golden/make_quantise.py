"""Writes tests/golden/gguf/quantised_rows.gguf: rows of several kinds and the blocks that llama.cpp makes of them.

Tensor `rows` holds the numbers (F32), `importance` a weight for each column. For each type there is NAME, blocks made
without importance, and NAME.weighted, made with it; both by `ggml_quantize_chunk` of the libggml in llama-cpp-python.
For the types that the `gguf` package encodes as well, its blocks must be the same.
Needs: pip install gguf llama-cpp-python numpy.
"""
import ctypes
import pathlib
from importlib.metadata import version

import gguf
import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType as Q

TYPES = [Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.Q4_K, Q.Q5_K, Q.Q6_K]
COLS = 512


def make_rows(rng):
    """A kind of numbers a row: what weights look like, and what could go wrong."""
    rows = [rng.standard_normal(COLS) * 0.02 for _ in range(4)]
    rows += [rng.standard_t(3, COLS) * 0.02 for _ in range(2)]  # outliers
    rows.append(rng.uniform(-1, 1, COLS))
    rows.append(rng.standard_normal(COLS) * 0.05 - 0.4)  # all below 0
    rows.append(np.abs(rng.standard_normal(COLS)) + 0.5)  # all above 0
    rows.append(rng.standard_normal(COLS) * np.repeat(rng.lognormal(0, 2, COLS // 32), 32))  # uneven groups
    rows.append(np.where(rng.random(COLS) < 0.9, 0, rng.standard_normal(COLS)))  # mostly 0
    rows.append(rng.standard_normal(COLS) * 2e-5)  # scales are subnormal in f16
    return np.array(rows, np.float32)


def load_ggml():
    library = next(pathlib.Path(llama_cpp.__file__).parent.glob("lib/libggml-base.so"))
    ggml = ctypes.CDLL(str(library))
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
                                         ctypes.c_int64, ctypes.c_void_p]
    return ggml


def quantise(ggml, qtype, rows, importance=None):
    elements, size = gguf.GGML_QUANT_SIZES[qtype]
    blocks = np.zeros((len(rows), COLS // elements * size), np.uint8)
    weights = None if importance is None else importance.ctypes.data
    done = ggml.ggml_quantize_chunk(qtype, rows.ctypes.data, blocks.ctypes.data, 0, len(rows), COLS, weights)
    assert done == blocks.nbytes
    return blocks


def main(path):
    rng = np.random.default_rng(3)
    rows = make_rows(rng)
    importance = rng.lognormal(0, 1, COLS).astype(np.float32)
    ggml = load_ggml()
    w = gguf.GGUFWriter(path, "llama")
    w.add_string("peer", f"llama-cpp-python {version('llama-cpp-python')}, gguf {version('gguf')}, numpy {np.__version__}")
    w.add_tensor("rows", rows)
    w.add_tensor("importance", importance)
    for qtype in TYPES:
        blocks = quantise(ggml, qtype, rows)
        if qtype in (Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0):
            assert np.array_equal(blocks, gguf.quantize(rows, qtype)), qtype
        w.add_tensor(qtype.name, blocks, raw_dtype=qtype)
        w.add_tensor(qtype.name + ".weighted", quantise(ggml, qtype, rows, importance), raw_dtype=qtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


main(pathlib.Path(__file__).parent / "gguf" / "quantised_rows.gguf")
