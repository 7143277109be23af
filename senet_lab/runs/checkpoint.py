"""Checkpoints at epoch boundaries, written atomically and loaded without running code from them."""

import errno
import io
import os
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from senet_lab.files import read_bytes, write_atomic
from senet_lab.records.run import RunDirectory

FORMAT = 1


class CheckpointError(Exception):
    """A checkpoint that cannot be resumed from; the message gives the reason."""


def save_checkpoint(directory: RunDirectory, state: dict[str, Any], config_hash: str) -> None:
    """Write `state`; the previous checkpoint stays until this one is on disk.

    Raises:
        UsageError: no space, no permission.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "config_hash": config_hash, **state}, buffer)
    write_atomic(directory.checkpoint_file, buffer.getbuffer(), directory.root)


def checkpoint_bytes(network: nn.Module, optimizer: torch.optim.Optimizer, copies: int = 1) -> int:
    """Size of a checkpoint on disk, from weights and optimizer state on the meta device.

    Args:
        network: the network, on the meta device.
        optimizer: optimizer of its parameters.
        copies: copies of the weights: 2 with their average.
    """
    alike: dict[tuple[int, torch.Size], list[Tensor]] = {}
    for number, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            alike.setdefault((number, parameter.shape), []).append(parameter)
    for first, *_ in alike.values():
        first.grad = torch.zeros_like(first)
    optimizer.step()  # creates the state of parameters with a gradient: of one of each shape, as it is slow
    states = sum(len(same) * _bytes(optimizer.state[same[0]]) for same in alike.values())
    return copies * _bytes(network.state_dict()) + states


def _bytes(state: Mapping[str, Any]) -> int:
    return sum(value.nbytes for value in state.values() if isinstance(value, Tensor))


def load_checkpoint(directory: RunDirectory, config_hashes: Collection[str]) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote, on the CPU.

    Args:
        directory: the run's directory.
        config_hashes: hashes of the configs to which the checkpoint may belong.

    Raises:
        CheckpointError: damaged, of another format, or of another config.
        UsageError, MemoryError: it could not be read; its content may be valid.
    """
    file = directory.checkpoint_file
    # Read into memory first: later errors are then due to the content, not to the disk.
    content = _load(file, io.BytesIO(read_bytes(file, directory.root)))
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise CheckpointError(f"{file} has checkpoint format {found}; this version reads {FORMAT}")
    if content["config_hash"] not in config_hashes:
        raise CheckpointError(f"{file} belongs to another config")
    return content


def require_fit(
    directory: RunDirectory, found: Mapping[str, Any], expected: Mapping[str, Any], epochs: int
) -> None:
    """Check that a run can resume from a checkpoint, before loading any of it.

    Args:
        directory: the run's directory, for the message.
        found: the checkpoint's state.
        expected: the state of the freshly built run.
        epochs: total epochs of the run.

    Raises:
        CheckpointError: parts are missing, or tensors have other shapes.
    """
    file = directory.checkpoint_file
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise CheckpointError(f"{file} lacks {', '.join(missing)}")
    if not isinstance(found["epochs_done"], int) or not 0 <= found["epochs_done"] <= epochs:
        raise CheckpointError(f"{file} is of epoch {found['epochs_done']} of {epochs}")
    for part, layout in (("network", _shapes), ("optimizer", _group_sizes)):
        was, now = layout(found[part]), layout(expected[part])
        if was != now:
            names = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
            first = f"{names[0]} was {was.get(names[0])} and is {now.get(names[0])}"
            raise CheckpointError(f"{file} does not fit the {part} that the code builds now: {first}")


def _shapes(network: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(getattr(value, "shape", ())) for name, value in network.items()}


def _group_sizes(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"parameter group {number}": f"of {len(group['params'])} parameters"
        for number, group in enumerate(optimizer["param_groups"])
    }


def _load(file: Path, content: io.BytesIO) -> Any:
    try:
        with zipfile.ZipFile(content) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise CheckpointError(f"{file} is damaged or no checkpoint: parts of it are compressed")
            # torch ignores the checksums of its archive: a flipped bit would go unnoticed.
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{file} is damaged: {damaged} does not match its checksum")
        content.seek(0)
        # weights_only refuses any pickle that would run code.
        return torch.load(content, map_location="cpu", weights_only=True)
    except (MemoryError, CheckpointError):
        raise
    except Exception as error:
        if os.strerror(errno.ENOMEM) in str(error):  # torch raises a RuntimeError for it
            raise MemoryError(f"{file} does not fit in memory") from error
        reason = (str(error) or repr(error)).splitlines()[0]
        raise CheckpointError(f"{file} is damaged or no checkpoint: {reason}") from error
