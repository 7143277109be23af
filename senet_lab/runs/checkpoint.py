"""Checkpoints at epoch boundaries, written atomically and loaded without running code from them."""

import copy
import errno
import io
import math
import operator
import os
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from senet_lab.build import build_on_meta
from senet_lab.config import RunConfig
from senet_lab.files import read_bytes, write_atomic
from senet_lab.records.run import RunDirectory
from senet_lab.seeding import check_global_state
from senet_lab.text import counted
from senet_lab.training.loop import load_optimizer

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


def load_checkpoint(
    directory: RunDirectory, config_hashes: Collection[str], limit: int | None = None
) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote, on the CPU.

    Args:
        directory: of the run.
        config_hashes: configs to which the checkpoint may belong.
        limit: maximal size in bytes, for a file of unknown origin.

    Raises:
        CheckpointError: damaged, of another format, or of another config.
        UsageError, MemoryError: it could not be read; its content may be valid.
    """
    file = directory.checkpoint_file
    # Read into memory first: later errors are then due to the content, not to the disk.
    content = _load(file, io.BytesIO(read_bytes(file, directory.root, limit)))
    found = content.get("format") if isinstance(content, dict) else None
    if not isinstance(found, int):
        raise CheckpointError(f"{file} has no checkpoint format")
    if found != FORMAT:
        raise CheckpointError(f"{file} has checkpoint format {found}; this version reads {FORMAT}")
    config_hash = content.get("config_hash")
    if not isinstance(config_hash, str) or config_hash not in config_hashes:
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
    done = found["epochs_done"]
    if not isinstance(done, int):
        raise CheckpointError(f"{file} has no number of epochs")
    if not 0 <= done <= epochs:
        raise CheckpointError(f"{file} is of epoch {done} of {epochs}")
    require_weights(directory, found, expected["network"])
    if "average" in expected:
        with _tried(file, "average"):
            was, now = found["average"], expected["average"]
            _require_same(file, "average", _shapes(was["network"]), _shapes(now["network"]))
            operator.index(was["steps"])
    _require_same(file, "optimizer", _group_sizes(found["optimizer"]), _group_sizes(expected["optimizer"]))


def require_rows(directory: RunDirectory, found: Mapping[str, Any]) -> None:
    """Check that the rows before a checkpoint are those with which it was taken; older ones do not tell.

    Raises:
        CheckpointError: a table has other rows.
        UsageError: a table that cannot be read.
    """
    if "rows" not in found:
        return
    hashes = found["rows"] if isinstance(found["rows"], Mapping) else {}
    changed = directory.changed_table(found["epochs_done"], hashes)
    if changed is not None:
        file = directory.checkpoint_file.name
        raise CheckpointError(f"{changed} has other rows than {file} was taken with")


def require_loadable(
    directory: RunDirectory, found: Mapping[str, Any], expected: Mapping[str, Any], config: RunConfig
) -> None:
    """Check that a run can take a step with a checkpoint's state, by taking one without values.

    Optimizer and schedule are tried on the meta device, generators in spare ones.

    Args:
        directory: the run's directory, for the message.
        found: the checkpoint's state, which `require_fit` has accepted.
        expected: the state of the freshly built run.
        config: the run's config.

    Raises:
        CheckpointError: names the part and its error.
    """
    file = directory.checkpoint_file
    network, optimizer, schedule = build_on_meta(config)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with _tried(file, "optimizer"):
        load_optimizer(optimizer, copy.deepcopy(found["optimizer"]))  # a step changes its own count in place
        optimizer.step()
    with _tried(file, "schedule"):
        lasting = {key for key in expected["schedule"] if not key.startswith("_")}  # the others are torch's
        missing = sorted(lasting - found["schedule"].keys())
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        schedule.load_state_dict(copy.deepcopy(found["schedule"]))
        if found["epochs_done"] < config.epochs:
            schedule.step()
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        if not all(map(math.isfinite, rates)):
            raise ValueError(f"the next learning rates are {rates}")
    with _tried(file, "random generators"):
        check_global_state(found["rng"], expected["rng"])


@contextmanager
def _tried(file: Path, part: str) -> Iterator[None]:
    """Within, an error is due to the checkpoint's content, which may be anything, and so may the error."""
    try:
        yield
    except (MemoryError, CheckpointError):
        raise
    except Exception as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise CheckpointError(f"{file} does not fit the {part} that the code builds now: {reason}") from error


def require_weights(directory: RunDirectory, found: Mapping[str, Any], network: Mapping[str, Any]) -> None:
    """Check that a checkpoint's weights are those of a network, whose state is given.

    Raises:
        CheckpointError: other names, shapes or number formats.
    """
    _require_same(directory.checkpoint_file, "network", _shapes(found.get("network")), _shapes(network))


def _require_same(file: Path, part: str, was: Mapping[str, str], now: Mapping[str, str]) -> None:
    names = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
    if names:
        first = f"{names[0]} was {was.get(names[0])} and is {now.get(names[0])}"
        raise CheckpointError(f"{file} does not fit the {part} that the code builds now: {first}")


def _shapes(network: object) -> dict[str, str]:
    """Shape and number format of each tensor; none for what is no network."""
    values = network.items() if isinstance(network, Mapping) else ()
    tensors = {str(name): value for name, value in values if isinstance(value, Tensor)}
    return {name: f"{tuple(value.shape)} {value.dtype}{_odd_kind(value)}" for name, value in tensors.items()}


def _odd_kind(tensor: Tensor) -> str:
    """What a checkpoint's tensor is if it is not a plain one with values."""
    return " without values" if tensor.is_meta else "" if tensor.layout is torch.strided else " and sparse"


def _group_sizes(optimizer: object) -> dict[str, str]:
    """The number of parameters in each group; none for what is no optimizer."""
    groups = optimizer.get("param_groups") if isinstance(optimizer, Mapping) else None
    sizes = [
        len(group["params"]) if isinstance(group, Mapping) and isinstance(group.get("params"), list) else 0
        for group in (groups if isinstance(groups, list) else ())
    ]
    return {
        f"parameter group {number}": f"of {counted(size, 'parameter')}" for number, size in enumerate(sizes)
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
