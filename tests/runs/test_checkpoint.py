import os
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from senet_lab.errors import UsageError
from senet_lab.runs.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

STATE = {"epochs_done": 3, "network": {"weight": torch.arange(500.0)}, "list": [1, (2, None)]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, STATE, "hash")
    return file


def plain(content: dict[str, Any]) -> Any:
    return content["epochs_done"], content["network"]["weight"].tolist(), content["list"]


def test_what_was_saved_is_loaded(file: Path) -> None:
    assert plain(load_checkpoint(file, "hash")) == plain(STATE)


def test_a_flipped_bit_is_noticed_or_changes_nothing(file: Path) -> None:
    whole = file.read_bytes()
    draws = random.Random(0)
    noticed = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draws.randrange(len(whole))] ^= 1 << draws.randrange(8)
        file.write_bytes(damaged)
        try:
            assert plain(load_checkpoint(file, "hash")) == plain(STATE)
        except CheckpointError:
            noticed += 1
    assert noticed > 100


@pytest.mark.parametrize("how", ["half", "a byte short", "empty", "zeroed", "another file"])
def test_a_damaged_file_is_noticed(file: Path, how: str) -> None:
    whole = file.read_bytes()
    damaged = {
        "half": whole[: len(whole) // 2],
        "a byte short": whole[:-1],
        "empty": b"",
        "zeroed": bytes(len(whole)),
        "another file": b"<html>not found</html>",
    }
    file.write_bytes(damaged[how])
    with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
        load_checkpoint(file, "hash")


def test_another_config_or_format_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="belongs to another config"):
        load_checkpoint(file, "other")
    monkeypatch.setattr("senet_lab.runs.checkpoint.FORMAT", 2)
    save_checkpoint(file, STATE, "hash")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has checkpoint format 2; this version reads 1"):
        load_checkpoint(file, "hash")


class Malicious:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("writer", [torch.save, lambda value, file: file.write_bytes(pickle.dumps(value))])
def test_a_checkpoint_that_would_run_code_is_refused(file: Path, tmp_path: Path, writer: Any) -> None:
    writer({"format": 1, "config_hash": "hash", "network": Malicious(tmp_path / "ran")}, file)
    with pytest.raises(CheckpointError):
        load_checkpoint(file, "hash")
    assert not (tmp_path / "ran").exists()


def test_the_one_before_stays_when_the_next_cannot_be_written(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=r"checkpoint.pt cannot be written: No space left.*bytes are needed"):
        save_checkpoint(file, {**STATE, "epochs_done": 4}, "hash")
    assert load_checkpoint(file, "hash")["epochs_done"] == 3
    assert list(file.parent.iterdir()) == [file]
