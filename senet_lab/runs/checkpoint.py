"""The epoch boundary from which a run can go on, written whole and read without running code."""

import io
import pickle
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import nn

from senet_lab.files import write_atomic

FORMAT = 1

UNREADABLE = (
    OSError,
    RuntimeError,  # torch's reader; NotImplementedError of zipfile is one, too
    ValueError,
    LookupError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
)
"""What reading a damaged archive raises."""


class CheckpointError(Exception):
    """A checkpoint that cannot be gone on from; the message says why."""


def save_checkpoint(file: Path, state: dict[str, Any], config_hash: str) -> None:
    """Put `state` down at `file`; the one before it stays until this one is safely there.

    Raises:
        UsageError: no space, no permission.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "config_hash": config_hash, **state}, buffer)
    write_atomic(file, buffer.getbuffer())


def checkpoint_bytes(network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """What a checkpoint takes on disk, measured on weights and optimizer state on the meta device."""
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # which makes the optimizer's state
    states = [network.state_dict(), *optimizer.state.values()]
    tensors = [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def load_checkpoint(file: Path, config_hashes: Collection[str]) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote, on the CPU.

    Args:
        file: the checkpoint.
        config_hashes: of the configs whose runs it may belong to.

    Raises:
        CheckpointError: damaged, of another format, or of another config.
    """
    content = _load(file)
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise CheckpointError(f"{file} has checkpoint format {found}; this version reads {FORMAT}")
    if content["config_hash"] not in config_hashes:
        raise CheckpointError(f"{file} belongs to another config")
    return content


def _load(file: Path) -> Any:
    try:
        # torch does not look at the checksums of its archive, so a flipped bit would go unnoticed.
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{file} is damaged: {damaged} does not match its checksum")
        # weights_only refuses any pickle that would run code.
        return torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise CheckpointError(f"{file} is damaged or no checkpoint: {reason}") from error
