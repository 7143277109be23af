from pathlib import Path

import pytest
import torch
from support import tiny
from torch import nn

from senet_lab.composition.command import compose_command
from senet_lab.training import memory
from senet_lab.training.engine import Engine
from senet_lab.training.memory import WORKSPACES, forward_bytes, free_bytes, kept_bytes, run_bytes

CPU = torch.device("cpu")


def test_what_a_forward_pass_keeps_by_hand() -> None:
    with torch.device("meta"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 7))
        images, labels = torch.empty(16, 3, 2, 2), torch.zeros(16, dtype=torch.int64)
    # The images; the rectified map, once, though two layers keep it; log-probabilities; labels; their number.
    assert kept_bytes(network, images, labels) == 16 * 12 * 4 + 16 * 5 * 4 + 16 * 7 * 4 + 16 * 8 + 4


def test_what_a_forward_pass_holds_at_a_time_by_hand() -> None:
    with torch.device("meta"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 50), nn.ReLU(), nn.Linear(50, 7), nn.ReLU())
        images = torch.empty(16, 3, 2, 2)
    # Each layer's input and output: the widest two are the map before and after the first ReLU.
    assert forward_bytes(network, images) == 16 * (50 + 50) * 4
    assert forward_bytes(network, images) == 16 * (50 + 50) * 4, "nothing is left over"


def test_a_gpu_holds_a_captured_step_beside_a_test_batch_and_workspaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def size(*words: str, **how: bool) -> int:
        config = compose_command("train", [*tiny(tmp_path), *words]).points[0].config
        return run_bytes(config, 0, Engine(torch.device("cuda"), "float32", False, **how))

    (plain, captured), (small, small_captured) = (
        (size(words), size(words, cuda_graph=True)) for words in ("batch_size=64", "batch_size=16")
    )
    # A batch of 1,000 test images is larger than either step, which a graph adds to it.
    assert plain == small
    assert 0 < small_captured - small < captured - plain
    workspaces = WORKSPACES["cuda"]
    monkeypatch.setitem(WORKSPACES, "cuda", 0)
    assert plain - size("batch_size=64") == workspaces > 0
    monkeypatch.setitem(memory.AT_ONCE, "cuda", memory.AT_ONCE["cuda"] + 1000)  # augmented images
    assert size("batch_size=64") == plain - workspaces + 1000
    monkeypatch.setattr(memory, "forward_bytes", lambda *_: 0)
    few = size("batch_size=1", "augment.size=8")
    monkeypatch.setitem(memory.TEST_BATCH, "cuda", memory.TEST_BATCH["cuda"] + 10)
    assert size("batch_size=1", "augment.size=8") == few + 10 * 3 * 8 * 8 * 4  # the test images themselves


def test_half_the_precision_and_parts_of_a_batch_take_less(tmp_path: Path) -> None:
    def size(precision: str, *words: str) -> int:
        # A step larger than a batch of test images.
        config = compose_command("train", [*tiny(tmp_path), "batch_size=4096", *words]).points[0].config
        return run_bytes(config, 0, Engine(CPU, precision, deterministic=False))

    whole = size("float32")
    assert size("bfloat16") < 0.7 * whole
    assert size("float32", "accumulate=2") < 0.7 * whole
    assert size("float32", "augment.size=16") > 3 * whole


def test_there_is_some_memory() -> None:
    assert free_bytes(CPU) > 2**20
