"""Recorded pre-activations: those of the plain network, and nothing else in the record depends on them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import tiny
from sweeps import records, sweep
from torch import Tensor, nn

from senet_lab.build import build_network
from senet_lab.cli import main
from senet_lab.composition.command import compose_command
from senet_lab.networks.activations import activation_sites
from senet_lab.records.rows import MEASURES
from senet_lab.runs import execute
from senet_lab.training.engine import Engine
from senet_lab.training.loop import Training
from senet_lab.training.turns import finish

CPU = Engine(torch.device("cpu"), "float32", deterministic=False)
RECORD = "pre_activations=true"


@pytest.mark.parametrize("activation", ["relu", "mish"])
def test_they_are_those_of_the_plain_network(activation: str, tmp_path: Path) -> None:
    config = compose_command("train", [*tiny(tmp_path), f"activation={activation}", RECORD]).points[0].config
    training = Training(config, CPU)
    for epochs_done in (0, 1):
        rows = training.pre_activations()
        assert {row.epoch for row in rows} == {epochs_done}
        got = {(row.site, row.measure): row.value for row in rows}
        assert got == pytest.approx(dict(plainly(training)), rel=1e-4, abs=1e-5)
        finish(training.epoch(lambda: False))


def plainly(training: Training) -> Iterator[tuple[tuple[str, str], float]]:
    """Site, measure and value, from hooks on the network as it is built."""
    network = build_network(training.config, 10)
    network.load_state_dict(training.network.state_dict())
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def note(name: str, act: nn.Module) -> None:
        act.register_forward_hook(lambda _, given, out: seen.update({name: (given[0], out)}))

    for name, act in activation_sites(network):
        note(name, act)
    with torch.no_grad():
        network.eval()(torch.cat([images for images, _ in training.batches.test()]).contiguous())
    assert len(seen) > 3
    for name, (given, out) in seen.items():
        values = given.double().numpy()
        dead = np.ptp(out.numpy(), axis=(0, 2, 3)) <= 1e-6
        numbers = [values.mean(), values.std(), *np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])]
        for measure, number in zip(MEASURES, [*numbers, dead.mean()], strict=True):
            yield (name, measure), number


def tables(folder: Path) -> dict[str, str]:
    """The content of each run's table, by its seed."""
    return {file.parent.name: file.read_text() for file in folder.rglob("pre_activations.csv")}


def words(folder: Path, *more: str) -> list[str]:
    """Two runs whose network draws from the global generators."""
    return sweep(folder, "activation=rrelu", *more)


def test_no_number_depends_on_them_and_they_go_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(words(tmp_path / "without")) == 0
    assert tables(tmp_path / "without") == {}
    assert main(words(tmp_path / "packed", RECORD, "pack=2")) == 0
    assert records(tmp_path / "packed") == records(tmp_path / "without")
    whole = tables(tmp_path / "packed")
    assert [line.split(",")[0] for line in whole["seed=0"].splitlines()[1 :: 5 * len(MEASURES)]] == [*"012"]

    class Killed(BaseException):
        """Caught by nothing, as kill -9."""

    def dying(directory: Any, state: dict[str, Any], config_hash: str) -> None:
        if state["epochs_done"] == 2:  # its rows are written
            raise Killed
        save(directory, state, config_hash)

    save = execute.save_checkpoint
    monkeypatch.setattr(execute, "save_checkpoint", dying)
    with pytest.raises(Killed):
        main(words(tmp_path / "parts", RECORD, "seed=0"))
    monkeypatch.undo()
    assert main(words(tmp_path / "parts", RECORD, "seed=0")) == 0
    assert tables(tmp_path / "parts") == {"seed=0": whole["seed=0"]}
    assert records(tmp_path / "parts") == {"seed=0": records(tmp_path / "without")["seed=0"]}


def test_a_change_of_them_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["train", *tiny(tmp_path), "epochs=1", "hydra/launcher=serial", RECORD]
    assert main(run) == 0
    (file,) = tmp_path.rglob("pre_activations.csv")
    verify = ["verify", "name=default", f"outputs={tmp_path / 'outputs'}"]
    assert main(verify) == 0
    lines = file.read_text().splitlines(keepends=True)
    first = next(place for place, line in enumerate(lines) if line.startswith("1,"))
    file.write_text("".join([*lines[:-1], lines[-1].replace("1,", "1,x", 1)]))
    capsys.readouterr()
    assert main(verify) == 1
    assert f"its SHA-256 differs, first in epoch 1, line {first + 1}" in capsys.readouterr().out
    status = file.with_name("status.json")
    content = json.loads(status.read_text())
    del content["digests"][file.name]
    status.write_text(json.dumps(content))
    file.write_text("".join(lines[:-1]))
    assert main(verify) == 1
    assert f"{file} has {len(lines) - first - 1} rows of epoch 1, not {first - 1}" in capsys.readouterr().out
    file.unlink()
    assert main(verify) == 0, "a record of an earlier version has no such file"
