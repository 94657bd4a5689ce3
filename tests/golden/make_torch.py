"""Writes tests/golden/torch/*.pth with PyTorch, the peer of our reader.

NAME.expected lists each tensor of NAME.pth: name, dtype, dims and its bytes in C order (hexadecimal).
Files named bad_* must be refused. Needs: pip install torch numpy.
"""
import collections
import io
import pathlib
import pickle
import tarfile
import zipfile

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).parent / "torch"


def views():
    torch.manual_seed(1)
    base = torch.randn(6, 8)
    state = collections.OrderedDict()
    state["plain"] = base
    state["transposed"] = base.t()
    state["rows"] = base[2:4]
    state["columns"] = base[:, 3:6]
    state["every_other"] = base[::2, 1::3]
    state["permuted"] = torch.randn(2, 3, 4).permute(2, 0, 1)
    state["broadcast"] = torch.randn(3, 1).expand(3, 4)
    state["scalar"] = torch.tensor(2.5)
    state["picked_scalar"] = base[3, 5]
    state["empty"] = torch.empty(0, 4)
    state["parameter"] = torch.nn.Parameter(torch.randn(3))
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        state[str(dtype)] = torch.randn(5).to(dtype)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8):
        state[str(dtype)] = torch.tensor([-3, 0, 7], dtype=dtype)
    state["torch.uint8"] = torch.tensor([0, 255], dtype=torch.uint8)
    state["torch.bool"] = torch.tensor([True, False])
    state["step"] = 12345
    state["note"] = "not a tensor"
    state["sizes"] = torch.Size([1, 2])
    state[7] = [1.5, None, True, 2**40, -1, 70000]
    return state


def raw(tensor):
    t = tensor.detach().contiguous()
    return (t.reshape(-1).view(torch.uint8) if t.numel() else t).numpy().tobytes()


def module_state():
    """A module's own state_dict carries attributes (_metadata): the pickle has a BUILD."""
    torch.manual_seed(2)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).state_dict()


class Evil:
    def __reduce__(self):
        return (print, ("never printed",))


def write_tar(path, state):
    with tarfile.open(path, "w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(sorted(state), protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def expect(path, state):
    with open(path, "w") as f:
        f.write(f"# torch {torch.__version__}, numpy {np.__version__}\n")
        for name, t in state.items():
            if isinstance(t, torch.Tensor):
                dims = ",".join(map(str, t.shape)) or "-"
                f.write(f"{name} {str(t.dtype)} {dims} {raw(t).hex() or '-'}\n")


FOLDER.mkdir(exist_ok=True)
for name, state in (("views", views()), ("module", module_state())):
    torch.save(state, FOLDER / f"{name}.pth")
    expect(FOLDER / f"{name}.expected", state)
small = {"w": torch.ones(2)}
torch.save(small, FOLDER / "bad_before_zip.pth", _use_new_zipfile_serialization=False)
torch.save(small, FOLDER / "bad_protocol4.pth", pickle_protocol=4)
torch.save({"w": torch.ones(2), "x": Evil()}, FOLDER / "bad_evil.pth")
torch.save(torch.ones(2), FOLDER / "bad_no_dict.pth")
torch.save({"model": small}, FOLDER / "bad_nested.pth")
torch.save({"w": torch.ones(2, dtype=torch.complex64)}, FOLDER / "bad_complex.pth")
write_tar(FOLDER / "bad_tar.pth", small)
with zipfile.ZipFile(FOLDER / "views.pth") as old, \
        zipfile.ZipFile(FOLDER / "bad_deflated.pth", "w", zipfile.ZIP_DEFLATED) as new:
    for item in old.infolist():
        new.writestr(item.filename, old.read(item))
with zipfile.ZipFile(FOLDER / "views.pth") as old, \
        zipfile.ZipFile(FOLDER / "repacked.pth", "w", zipfile.ZIP_STORED) as new:
    for item in old.infolist():  # by Python's zip writer: no padding, no 64-bit end
        new.writestr(zipfile.ZipInfo(item.filename), old.read(item))
