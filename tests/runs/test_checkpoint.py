import copy
import os
import pickle
import random
import resource
import sys
import zipfile
from errno import ENOMEM
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny
from sweeps import SERVER, records

from senet_lab.build import build_network, build_optimizer, check_run
from senet_lab.composition.command import compose_command
from senet_lab.config import RunConfig
from senet_lab.errors import UsageError
from senet_lab.records.run import RunDirectory
from senet_lab.runs import checkpoint
from senet_lab.runs.checkpoint import CheckpointError, require_fit, require_loadable, save_checkpoint
from senet_lab.training.engine import choose_engine
from senet_lab.training.loop import Training
from senet_lab.training.turns import finish

STATE = {"epochs_done": 3, "network": {"weight": torch.arange(500.0)}, "list": [1, (2, None)]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_checkpoint(RunDirectory(tmp_path), STATE, "hash")
    return tmp_path / "checkpoint.pt"


def load_checkpoint(file: Path, config_hash: str) -> dict[str, Any]:
    return checkpoint.load_checkpoint(RunDirectory(file.parent), config_hash)


def plain(content: dict[str, Any]) -> Any:
    return content["epochs_done"], content["network"]["weight"].tolist(), content["list"]


def test_what_a_gpu_saved_is_loaded_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as on_gpu:
        on_gpu.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        save_checkpoint(RunDirectory(tmp_path), STATE, "hash")
    assert plain(load_checkpoint(tmp_path / "checkpoint.pt", "hash")) == plain(STATE)
    (tmp_path / "metrics.csv").write_text("epoch,seconds\n")
    ((_, weights),) = records(tmp_path).values()
    assert weights == {"weight": torch.arange(500.0).numpy().tobytes()}


def test_what_was_saved_is_loaded(file: Path) -> None:
    assert plain(load_checkpoint(file, "hash")) == plain(STATE)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adadelta", "muon"])
def test_the_size_known_beforehand_is_that_of_all_tensors(tmp_path: Path, optimizer: str) -> None:
    config = compose_command("train", [*tiny(tmp_path), f"optimizer={optimizer}"]).points[0].config
    network = build_network(config, 10)
    stepped = build_optimizer(config.optimizer, network, config.lr)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    stepped.step()
    states = [network.state_dict(), network.state_dict(), *stepped.state.values()]
    tensors = [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]
    assert checkpoint.checkpoint_bytes(*check_run(config), copies=2) == sum(one.nbytes for one in tensors)


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


def test_what_cannot_be_read_is_not_taken_for_damaged(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UsageError, match=r"checkpoint.pt is not a regular file"):
        load_checkpoint(file, "hash")


@pytest.mark.parametrize("free", [20, 150])
def test_want_of_memory_is_not_taken_for_damage(file: Path, free: int) -> None:
    save_checkpoint(RunDirectory(file.parent), {"weight": torch.zeros(25 * 2**20)}, "hash")
    # In a process of its own: this one may have kept memory that others have freed.
    process = SERVER.Process(target=load_with_little_memory, args=(file, free))
    process.start()
    process.join()
    assert process.exitcode == ENOMEM


def load_with_little_memory(file: Path, free: int) -> None:
    """Load a checkpoint where this process may take `free` MiB more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + free * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        load_checkpoint(file, "hash")
    except MemoryError:
        sys.exit(ENOMEM)


def test_a_file_that_would_swell_is_refused(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**20))
    with pytest.raises(CheckpointError, match="parts of it are compressed"):
        load_checkpoint(file, "hash")


@pytest.mark.parametrize(
    "content",
    [
        None, 1, [], {}, {"format": None}, {"format": torch.zeros(2)}, {"format": 1},
        *({"format": 1, "config_hash": odd} for odd in (None, ["hash"], {"hash": 1}, torch.zeros(2))),
    ],
)  # fmt: skip
def test_content_of_another_kind_is_refused(file: Path, content: Any) -> None:
    torch.save(content, file)
    with pytest.raises(CheckpointError, match=r"checkpoint format|belongs to another config"):
        checkpoint.load_checkpoint(RunDirectory(file.parent), {"hash"})


def test_a_file_beyond_the_limit_is_not_read(file: Path) -> None:
    with pytest.raises(UsageError, match="more than 100 are not read"):
        checkpoint.load_checkpoint(RunDirectory(file.parent), {"hash"}, limit=100)


def of_a_run(width: int, parameters: int = 2, **other: Any) -> dict[str, Any]:
    weights = {"weight": torch.zeros(3, width), "steps": torch.tensor(1)}
    groups = [{"params": list(range(parameters))}]
    return {"epochs_done": 1, "network": weights, "optimizer": {"param_groups": groups}, **other}


def test_a_checkpoint_of_the_same_network_fits(file: Path) -> None:
    require_fit(RunDirectory(file.parent), of_a_run(4, source="of then"), of_a_run(4), epochs=1)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (of_a_run(5), r"does not fit the network .* weight was \(3, 5\) torch.float32 and is \(3, 4\)"),
        (of_a_run(4, network={"other": torch.zeros(1)}), r"other was \(1,\) torch.float32 and is None"),
        (of_a_run(4, parameters=1), "does not fit the optimizer"),
        (of_a_run(4, epochs_done=3), "is of epoch 3 of 2"),
        (of_a_run(4, epochs_done="1"), "has no number of epochs"),
        ({"epochs_done": 1}, "lacks network, optimizer"),
        *((of_a_run(4, network=odd), "does not fit the network") for odd in (None, [1], {}, {3: "a"})),
        (
            of_a_run(4, network={"steps": torch.zeros(())}),
            r"steps was \(\) torch.float32 and is \(\) torch.int64",
        ),
        *((of_a_run(4, optimizer=odd), "does not fit the optimizer") for odd in (None, [1], {})),
        *(
            (of_a_run(4, optimizer={"param_groups": odd}), "does not fit the optimizer")
            for odd in (None, 3, [3], [{}], [{"params": 2}], [{"params": [0, 1]}] * 2)
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_told(file: Path, found: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        require_fit(RunDirectory(file.parent), found, of_a_run(4), epochs=2)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    words = [*tiny(tmp_path_factory.mktemp("run")), "schedule=cosine", "ema=0.9"]
    return compose_command("train", words).points[0].config


@pytest.fixture(scope="module")
def trained(config: RunConfig) -> dict[str, Any]:
    """The state of a run after its first epoch."""
    training = Training(config, choose_engine(config.trainer))
    finish(training.epoch(lambda: False))
    return training.state_dict()


def changed(value: Any, path: str, new: Any) -> Any:
    """A copy with `new` at a dotted path, or nothing there if `new` is GONE."""
    key, _, rest = path.partition(".")
    items = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    place = key if key in items else int(key)
    items[place] = changed(items[place], rest, new) if rest else new
    items = {one: item for one, item in items.items() if item is not GONE}
    return items if isinstance(value, dict) else type(value)(items.values())


GONE = object()


@pytest.fixture(scope="module")
def fresh(config: RunConfig) -> dict[str, Any]:
    return Training(config, choose_engine(config.trainer)).state_dict()


def check(file: Path, state: dict[str, Any], fresh: dict[str, Any], config: RunConfig) -> None:
    directory = RunDirectory(file.parent)
    save_checkpoint(directory, state, "hash")
    found = load_checkpoint(file, "hash")
    require_fit(directory, found, fresh, config.epochs)
    require_loadable(directory, found, fresh, config)


def test_a_state_that_was_saved_can_be_loaded_and_nothing_is_drawn_for_it(
    file: Path, config: RunConfig, fresh: dict[str, Any], trained: dict[str, Any]
) -> None:
    before = random.getstate(), torch.get_rng_state().tolist()
    check(file, trained, fresh, config)
    check(file, changed(trained, "epochs_done", 2), fresh, config)
    assert (random.getstate(), torch.get_rng_state().tolist()) == before


def test_trying_a_step_leaves_the_state_as_it_was(
    file: Path, config: RunConfig, fresh: dict[str, Any], trained: dict[str, Any]
) -> None:
    state = copy.deepcopy(trained)
    require_loadable(RunDirectory(file.parent), state, fresh, config)
    assert state["schedule"] == trained["schedule"]
    for number, moments in trained["optimizer"]["state"].items():
        for key, value in moments.items():
            assert torch.equal(state["optimizer"]["state"][number][key], value), (number, key)


@pytest.mark.parametrize(
    ("part", "path", "odd"),
    [
        ("random generators", "rng.python", None),
        ("random generators", "rng.python.1", (1, 2)),
        ("random generators", "rng.python.1.0", -1),
        ("random generators", "rng.numpy.1", [0] * 5),
        ("random generators", "rng.numpy.2", 625),
        ("random generators", "rng.numpy.2", -1),
        ("random generators", "rng.torch", torch.zeros(7, dtype=torch.uint8)),
        ("random generators", "rng.torch", torch.zeros(5056)),
        ("random generators", "rng.cuda", GONE),
        ("random generators", "rng", [1]),
        ("schedule", "schedule", None),
        ("schedule", "schedule.last_epoch", GONE),
        ("schedule", "schedule.last_epoch", "3"),
        ("schedule", "schedule.last_epoch", 10**400),
        ("schedule", "schedule.total_steps", 0),
        ("schedule", "schedule.base_lrs", [float("nan")] * 2),
        ("schedule", "schedule.base_lrs", 7),
        ("optimizer", "optimizer.param_groups.0.lr", "fast"),
        ("optimizer", "optimizer.param_groups.0.lr", GONE),
        ("optimizer", "optimizer.param_groups.0.betas", [0.9]),
        ("optimizer", "optimizer.state.0.exp_avg", torch.zeros(3)),
        ("optimizer", "optimizer.state.0.exp_avg", GONE),
        ("optimizer", "optimizer.state.0.step", "7"),
        ("optimizer", "optimizer.state", None),
        ("average", "average", 7),
        ("average", "average.steps", "7"),
        ("average", "average.network", {}),
    ],
)
def test_a_state_with_which_no_step_can_be_taken_is_told(
    file: Path,
    config: RunConfig,
    fresh: dict[str, Any],
    trained: dict[str, Any],
    part: str,
    path: str,
    odd: Any,
) -> None:
    with pytest.raises(CheckpointError, match=f"checkpoint.pt does not fit the {part} that the code builds"):
        check(file, changed(trained, path, odd), fresh, config)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize(
    "odd", [lambda weight: weight.to("meta"), lambda weight: weight.to_sparse()], ids=["meta", "sparse"]
)
def test_weights_without_values_do_not_fit(
    file: Path, config: RunConfig, fresh: dict[str, Any], trained: dict[str, Any], odd: Any
) -> None:
    name = next(key for key, value in trained["network"].items() if value.ndim == 4)
    network = {**trained["network"], name: odd(trained["network"][name])}
    with pytest.raises(CheckpointError, match=f"does not fit the network .*: {name} was "):
        check(file, {**trained, "network": network}, fresh, config)


def test_another_config_or_format_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="belongs to another config"):
        load_checkpoint(file, "other")
    monkeypatch.setattr("senet_lab.runs.checkpoint.FORMAT", 2)
    save_checkpoint(RunDirectory(file.parent), STATE, "hash")
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
        save_checkpoint(RunDirectory(file.parent), {**STATE, "epochs_done": 4}, "hash")
    assert load_checkpoint(file, "hash")["epochs_done"] == 3
    assert list(file.parent.iterdir()) == [file]
