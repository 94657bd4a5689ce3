"""Writes tests/golden/compressed/NAME/: tiny Llamas that compressed-tensors stored, and what it makes of them again.

Each folder is a model as transformers and compressed-tensors write it. expected.json has, for each weight, the SHA-256 of its bytes
after the package's own decompression: in the dtype of the scales ("stored") and with scales widened to f32 first ("f32").
bad_zero_points has offsets, which we do not read.
Needs: pip install torch transformers compressed-tensors accelerate.
"""
import hashlib
import json
import pathlib
import shutil

import compressed_tensors
import torch
import transformers
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.compressors.base import decompress_module
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config

FOLDER = pathlib.Path(__file__).parent / "compressed"
WIDE = dict(hidden_size=128, intermediate_size=128, num_attention_heads=4, num_key_value_heads=1, head_dim=32)
SMALL = dict(hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, head_dim=16)
CASES = {  # name: shape, dtype, weights, further settings of the group, format
    "int4_g128": (WIDE, torch.bfloat16, dict(num_bits=4, strategy="group", group_size=128), {}, "pack-quantized"),
    "int8_g32": (SMALL, torch.float16, dict(num_bits=8, strategy="group", group_size=32), {}, "pack-quantized"),
    "int8_rows": (SMALL, torch.bfloat16, dict(num_bits=8, strategy="channel"),
                  {"input_activations": dict(num_bits=8, strategy="token", dynamic=True)}, "int-quantized"),
    "bad_zero_points": (SMALL, torch.bfloat16, dict(num_bits=4, strategy="group", group_size=32, symmetric=False), {},
                        "pack-quantized"),
}


def sha256(tensor):
    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def observe(module, args):
    """Scales as min-max observers choose them."""
    w = module.weight.detach().float()
    groups = w.reshape(w.shape[0], -1, args["group_size"]) if args["strategy"] == "group" else w.unsqueeze(1)
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    if args.get("symmetric", True):
        scale = torch.maximum(-low, high) / (2 ** args["num_bits"] - 1) * 2
    else:
        scale = (high - low) / (2 ** args["num_bits"] - 1)
        zero = torch.round(-2 ** (args["num_bits"] - 1) - low / scale)
        module.weight_zero_point.data.copy_(zero.reshape(module.weight_zero_point.shape))
    module.weight_scale.data.copy_(scale.reshape(module.weight_scale.shape))


def make(name, shape, dtype, weights, further, fmt):
    torch.manual_seed(1)
    config = transformers.LlamaConfig(vocab_size=48, num_hidden_layers=1, max_position_embeddings=64, tie_word_embeddings=False,
                                      bos_token_id=1, eos_token_id=2, **shape)
    model = transformers.LlamaForCausalLM(config).to(dtype)
    group = dict(targets=["Linear"], weights=dict(type="int") | weights, **further)
    apply_quantization_config(model, QuantizationConfig(config_groups={"group_0": group}, ignore=["lm_head"], format=fmt))
    linears = {n: m for n, m in model.named_modules() if hasattr(m, "quantization_scheme")}
    for module in linears.values():
        observe(module, weights)
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    compressor = ModelCompressor.from_pretrained_model(model, quantization_format=fmt)
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    expected = {"peer": f"compressed-tensors {compressed_tensors.__version__}, transformers {transformers.__version__}, "
                        f"torch {torch.__version__}"}
    for kind in ("f32", "stored"):
        for n, module in linears.items():
            scale = module.weight_scale.data
            if kind == "f32":
                packed = {k: v.clone() for k, v in module.state_dict().items()}
                packed["weight_scale"] = packed["weight_scale"].float()
                from compressed_tensors.compressors.base import BaseCompressor
                weight = BaseCompressor.load_from_registry(fmt).decompress(packed, module.quantization_scheme)["weight"]
            else:
                decompress_module(module)
                weight = module.weight.data
            assert weight.dtype == (torch.float32 if kind == "f32" else scale.dtype)
            expected.setdefault(f"{n}.weight", {})[kind] = sha256(weight)
    if not name.startswith("bad"):
        (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


for case, settings in CASES.items():
    make(case, *settings)
