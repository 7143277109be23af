"""Odd contents of files: damaged records, data sets and checkpoints."""

import copy
import io
import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from senet_lab.records.rows import MEASURES, PreActivation, columns
from senet_lab.records.tables import digest

SWEEP = Path(__file__).parents[1] / "records/sweeps/d55bf84"
LATER = "runs/resnet18/relu/lr=0.001/seed=0/pre_activations.csv"
"""A table that the version of the sweep did not have."""
FILES = sorted([*(file.relative_to(SWEEP).as_posix() for file in SWEEP.rglob("*") if file.is_file()), LATER])
ODD_VALUES: list[Any] = [
    None, True, -1, 0, 2, 10**30, 10**400, 1e400, float("nan"), "", "7", "x" * 300, "${oc.env:HOME}",
    "../../x", "/dev/zero", "\x1b[31m", "[/x]", "=1+1", "a\0b", [], {}, [[]],
    {"_target_": "os.mkdir", "path": "ran"},
]  # fmt: skip
ODD_BYTES = [
    b"", b"\0", b"\xff", b"\n", b",", b"-1", b"nan", b"1e400", b"99999999999999999999999", b"7.5", b"{",
    b"]", b"*a", b"!!python/name:os.system ", b"${oc.env:HOME}", b"\x1b[31m", b"\xc3\xa9", b": ", b"\t",
    b"null",
]  # fmt: skip
WHOLE = [b"", b"null", b"[]", b"{}", b"0", b'"text"', b"[" * 100_000, b"\xff\xfe", b"what\n1\n"]
NO_FILES = ("pipe", "folder", "link to /dev/zero", "link to nothing")
FIGURES = {"line": "${activation.label}", "style": None, "metric": ["test_error"], "y_range": [0.0, 1.0]}


def of_this_version(file: str) -> bytes:
    """The content of a file of the sweep, with what later versions added."""
    if file == LATER:
        rows = [
            f"{epoch},{site},{measure},0.25"
            for epoch, site, measure in product(range(4), ("stem.act1", "head.act"), MEASURES)
        ]
        return "\n".join([",".join(columns(PreActivation)), *rows, ""]).encode()
    content = (SWEEP / file).read_bytes()
    if file == "plan.json":
        return json.dumps(json.loads(content) | {"figures": FIGURES}).encode()
    if Path(file).name == "status.json":
        names = ("metrics.csv", "activations.csv", "pre_activations.csv")
        tables = {name: file.replace("status.json", name) for name in names}
        digests = {
            name: asdict(digest(of_this_version(table))) for name, table in tables.items() if table in FILES
        }
        return json.dumps(json.loads(content) | {"digests": digests}).encode()
    return content


@st.composite
def damages(draw: st.DrawFn, file: str) -> bytes | str:
    """New content of a file of the sweep, or what stands in its place."""
    content = of_this_version(file)
    kind = draw(st.sampled_from(["value", "value", "value", "bytes", "bytes", "cut", "whole", "no file"]))
    if kind == "no file":
        return draw(st.sampled_from(NO_FILES))
    if kind == "whole":
        return draw(st.sampled_from(WHOLE))
    place = draw(st.integers(0, len(content)))
    if kind == "cut":
        return content[:place]
    if kind == "bytes" or not file.endswith(".json"):
        return content[:place] + draw(st.sampled_from(ODD_BYTES)) + content[place + draw(st.integers(0, 9)) :]
    return json.dumps(_with_odd_value(draw, json.loads(content), ODD_VALUES)).encode()


def _with_odd_value(draw: st.DrawFn, content: Any, odd: Sequence[Any]) -> Any:
    """Values with one of them replaced or taken away."""
    if not isinstance(content, dict | list) or not content or draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(odd))
    keys = list(content) if isinstance(content, dict) else list(range(len(content)))
    key = draw(st.sampled_from(keys))
    if draw(st.integers(0, 9)) == 0:
        del content[key]
    else:
        content[key] = _with_odd_value(draw, content[key], odd)
    return content


def arrays() -> dict[str, Any]:
    """A data set for `dataset=arrays`, of three classes."""
    images = np.arange(18 * 75, dtype=np.uint8).reshape(18, 5, 5, 3)
    labels = np.arange(18) % 3
    return {"x_train": images[:12], "y_train": labels[:12], "x_test": images[12:], "y_test": labels[12:]}


ODD_ARRAYS: list[Any] = [
    np.full((12, 5, 5, 3), np.nan), np.full(12, np.nan), np.zeros((12, 5, 5, 3), np.float16),
    np.zeros((12, 5, 5, 3), bool), np.zeros((12, 5, 5, 3), complex), np.zeros((12, 75), np.uint8),
    np.zeros((12, 0, 0, 3), np.uint8), np.zeros((0, 5, 5, 3), np.uint8), np.zeros((12, 5, 5, 1), np.uint8),
    np.array(7), np.array([]), np.array(["a"] * 12), np.array([{}] * 12), np.array([b"\x80\x04."] * 12),
    np.zeros(12, "datetime64[s]"), np.zeros(12, [("a", "u1"), ("b", "O")]),
    np.zeros((12, 5, 5), [("a", "u1", 3)]),
    np.arange(12) - 1, np.arange(12) + 2**40, np.full(12, 2**64 - 1, np.uint64), np.zeros(12, np.int8),
]  # fmt: skip
ODD_HEADERS = [
    "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 999, 999, 3), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (12, -5, -5, 3), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-12, 5, 5, -3), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (True, True, True, 3), }",
    "{'descr': '|u1', 'fortran_order': 7, 'shape': (12, 5, 5, 3), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': 900, }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (12,), }",
    "{'descr': '<U1000000000', 'fortran_order': False, 'shape': (12,), }",
    "{'descr': [('a', '|u1', (900,))], 'fortran_order': False, 'shape': (1,), }",
    "{'descr': None, 'fortran_order': None, 'shape': None, }",
    "{'shape': (12,)}", "{}", "[]", "7", "", "(" * 5000, "9" * 5000, "[" * 200, "f(", "\x00",
    "__import__('os').abort()",
]  # fmt: skip
NO_NPZ = [
    b"",
    b"PK",
    b"PK\x05\x06" + bytes(18),
    b"\x93NUMPY\x01\x00",
    pickle.dumps([1]),
    b"<html>",
    bytes(999),
]
USUAL = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]
KINDS = ["array", "array", "header", "header", "name", "bytes", "cut", "no npz", "packed"]


@st.composite
def data_files(draw: st.DrawFn) -> bytes:
    """The content of a file for `dataset=arrays` of which something is off."""
    kind = draw(st.sampled_from(KINDS))
    if kind == "no npz":
        return draw(st.sampled_from(NO_NPZ))
    members = {f"{key}.npy": _npy(value) for key, value in arrays().items()}
    name = draw(st.sampled_from(sorted(members)))
    if kind == "array":
        members[name] = _npy(draw(st.sampled_from(ODD_ARRAYS)))
    elif kind == "header":
        members[name] = draw(headers(members[name]))
    elif kind == "name":
        others = [".npy", "../x.npy", "/x.npy", "x_train", name.upper()]
        members[draw(st.sampled_from(others))] = members.pop(name)
    packing = [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA] if kind == "packed" else USUAL
    whole = _zip(members, draw(st.sampled_from(packing)))
    place = draw(st.integers(0, len(whole)))
    if kind == "cut":
        return whole[:place]
    if kind == "bytes":
        return whole[:place] + draw(st.binary(max_size=9)) + whole[place + draw(st.integers(0, 9)) :]
    return whole


@st.composite
def headers(draw: st.DrawFn, content: bytes) -> bytes:
    """An array's file with another header, whose version and length may be untrue, too."""
    header = draw(st.sampled_from(ODD_HEADERS)).encode() + b"\n"
    length = draw(st.sampled_from([len(header), len(header), 0, 2**32 - 1]))
    start = draw(
        st.sampled_from(
            [
                b"\x01\x00" + min(length, 2**16 - 1).to_bytes(2, "little"),
                b"\x02\x00" + length.to_bytes(4, "little"),
                b"\x09\x09",
            ]
        )
    )
    return b"\x93NUMPY" + start + header + content[128:]


def _npy(value: Any) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asarray(value), allow_pickle=True)
    return content.getvalue()


def _zip(members: Mapping[str, bytes], packing: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


ODD_TENSORS: list[Any] = [
    torch.tensor(float("nan")), torch.zeros(0), torch.zeros(3, dtype=torch.float64),
    torch.zeros(1).expand(10**9), torch.zeros(2, dtype=torch.complex64), torch.tensor([2**60]),
    torch.tensor(True), torch.eye(2).to_sparse(), torch.zeros(2, device="meta"),
]  # fmt: skip
CHECKPOINT = next(name for name in FILES if name.endswith("checkpoint.pt"))


@lru_cache(maxsize=1)
def state_dict() -> dict[str, Any]:
    """The content of the sweep's checkpoint."""
    return torch.load(SWEEP / CHECKPOINT, weights_only=True)


@st.composite
def checkpoints(draw: st.DrawFn) -> Any:
    """The content of a checkpoint, with one of its values replaced or taken away."""
    return _with_odd_value(draw, copy.deepcopy(state_dict()), [*ODD_VALUES, *ODD_TENSORS])
