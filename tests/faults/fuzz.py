"""Damaged records, data, checkpoints and odd command lines at random: no traceback, no hang, no file touched.

    python tests/faults/fuzz.py --cases 10000

takes them all; `--seed` draws others, so that a long run can be given in parts.
"""

import argparse
import io
import os
import random
import resource
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from odd_files import CHECKPOINT, FILES, checkpoints, damages, data_files, of_this_version, state_dict
from odd_words import WRONG_WORDS, command_lines

import senet_lab as sl
from senet_lab import session
from senet_lab.cli import main
from senet_lab.composition import command
from senet_lab.data.arrays import Arrays
from senet_lab.errors import UsageError
from senet_lab.records.run import RunDirectory
from senet_lab.runs.checkpoint import CheckpointError, load_checkpoint, require_fit, require_loadable
from senet_lab.training.engine import choose_engine
from senet_lab.training.loop import Training

SECONDS = 120
"""Limit of one case, against hanging."""
READERS = ("status", "status format=json", "verify", "remove activation=relu", "Python")
SLOW_READERS = ("plot formats=[html] folder=mine", "compare against=d55bf84", "report")
"""They draw, which takes a second; for the long run."""


@st.composite
def records(draw: st.DrawFn, readers: Sequence[str]) -> tuple[str, bytes | str, str]:
    """A file, its damage, and the verb that reads it."""
    file = draw(st.sampled_from(FILES))
    return file, draw(damages(file)), draw(st.sampled_from(readers))


def check_record(folder: Path, case: tuple[str, bytes | str, str]) -> None:
    """Have a verb read `folder`/d55bf84 with one damaged file; an AssertionError if it does not bear it."""
    name, damage, reader = case
    file = folder / "d55bf84" / name
    original = file.read_bytes()
    file.unlink()
    try:
        _place(file, damage)
        before = _state(folder / "d55bf84")
        _bears(reader.split(), folder)
        assert _state(folder / "d55bf84") == before
    finally:
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
        file.unlink(missing_ok=True)
        file.write_bytes(original)


def _place(file: Path, damage: bytes | str) -> None:
    if isinstance(damage, bytes):
        file.write_bytes(damage)
    elif damage == "pipe":
        os.mkfifo(file)
    elif damage == "folder":
        file.mkdir()
    else:
        file.symlink_to(damage.removeprefix("link to "))


def _state(sweep: Path) -> dict[str, tuple[int, int, int]]:
    """What would tell of a change, for each file that the sweep came with and that is there."""
    found = {name: (sweep / name).lstat() for name in FILES if os.path.lexists(sweep / name)}
    return {name: (one.st_ino, one.st_size, one.st_mtime_ns) for name, one in found.items()}


def check_data(folder: Path, content: bytes) -> None:
    """Read a data set from a file of this content; it may be refused."""
    file = folder / "set.npz"
    file.write_bytes(content)
    dataset = Arrays(str(file))
    for name in ("image_size", "num_classes", "train_images"):
        with bounded(), suppress(UsageError):
            getattr(dataset, name)
    with bounded(), suppress(UsageError):
        dataset.read()


@contextmanager
def bounded() -> Iterator[None]:
    """Within, a hang or another gigabyte is an error."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**30, before[1]))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)


def check_checkpoint(folder: Path, content: Any) -> None:
    """Have a checkpoint of this content read in `folder`/d55bf84, and verified.

    It may be refused; a run must be able to take a step with one that is not.
    """
    file = folder / "d55bf84" / CHECKPOINT
    torch.save(content, file)
    record = RunDirectory(file.parent)
    config = record.config()
    training = Training(config, choose_engine(config.trainer))
    fresh = training.state_dict()
    with bounded(), suppress(CheckpointError, UsageError):
        found = load_checkpoint(record, {str(state_dict()["config_hash"])})
        require_fit(record, found, fresh, config.epochs)
        require_loadable(record, found, fresh, config)
        take_a_step(training, found)
    with bounded():
        _bears(["verify"], folder)


def take_a_step(training: Training, state: dict[str, Any]) -> None:
    """Restore a state, and do what changes with the first step; an error is raised as another kind."""
    try:
        training.load_state_dict(state)
        for parameter in training.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        training.optimizer.step()
        if training.epochs_done < training.config.epochs:
            training.schedule.step()
        torch.rand(1), random.random(), np.random.random()
    except Exception as error:
        raise AssertionError("the checkpoint was accepted") from error


def check_wrong(folder: Path, word: str) -> None:
    """Give `train` a wrong override in an empty folder: one line, exit code 2, and nothing is left behind."""
    err = io.StringIO()
    with redirect_stderr(err), mock.patch.object(session, "_execute"):
        code = main(["train", "model=cnn3", "dataset=digits", f"outputs={folder}/outputs", "name=a", word])
    assert code == 2, word
    (line,) = err.getvalue().splitlines()
    assert line.startswith("senet-lab: "), word
    assert line.isprintable(), word
    assert list(folder.iterdir()) == [], word


@contextmanager
def composed_once() -> Iterator[None]:
    """Within, Hydra composes equal overrides once; errors come anew."""
    once = lru_cache(maxsize=None)(command._compose)

    def composed(verb: str, *lists: Sequence[Any]) -> Any:
        return once(verb, *map(tuple, lists))

    with mock.patch.object(command, "_compose", composed):
        yield


def check_command_line(folder: Path, words: Sequence[str]) -> None:
    """Give a command line in an empty folder, without training; refused, it must leave nothing behind."""
    with mock.patch.object(session, "_execute"):
        code = _bears([*words, "model=resnet18", "dataset=digits"] if words[0] == "train" else words, folder)
    if code == 2:
        assert list(folder.iterdir()) == []
    for path in folder.iterdir():
        shutil.rmtree(path)


def _bears(words: Sequence[str], folder: Path) -> int:
    """Exit code of a command that must end in time with at most one line of error, without a traceback."""
    out, err = io.StringIO(), io.StringIO()
    here = Path.cwd()
    os.chdir(folder)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings(action="ignore"):
            code = _python() if words == ["Python"] else main([*words, *_place_of(words)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.chdir(here)
    told = out.getvalue() + err.getvalue()
    assert code in (0, 1, 2), told
    assert "Traceback" not in told
    assert "\x1b" not in told
    if code == 2:
        assert err.getvalue().splitlines()[-1].startswith("senet-lab: "), told
    return code


def _place_of(words: Sequence[str]) -> list[str]:
    if words[0] in ("inspect", "doctor"):
        return []
    named = any(word.lstrip("+~").startswith("name=") for word in words)
    return ["outputs=."] if named else ["outputs=.", "name=d55bf84"]


def _python() -> int:
    sweep = sl.open_sweep("d55bf84")
    with suppress(UsageError):
        len(sweep.runs)
    with suppress(UsageError):
        len(sweep.pre_activations)
    with suppress(UsageError):
        sweep.final()
    return 0


@contextmanager
def prepared(folder: Path) -> Iterator[None]:
    """Within, `folder` holds a sweep, and equal commands are composed once; a hang raises TimeoutError."""
    for file in FILES:
        path = folder / "d55bf84" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(of_this_version(file))
    once = lru_cache(maxsize=None)(command.compose_command)

    def composed(verb: str, *arguments: Any, **options: Any) -> Any:
        return once(verb, *(tuple(one) if isinstance(one, list) else one for one in arguments), **options)

    with (
        mock.patch.object(command, "compose_command", composed),
        mock.patch("senet_lab.api.compose_command", composed),
        alarmed(),
    ):
        yield


@contextmanager
def alarmed() -> Iterator[None]:
    """Within, the timer of a case raises TimeoutError."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"no end after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


Check = Callable[[Path, Any], None]


def fuzz(check: Check, cases: st.SearchStrategy[Any], count: int, folder: Path, number: int = 0) -> None:
    """Check `count` cases; the first one that fails is raised, with its values in the traceback's notes.

    Args:
        check: raises for a case that fails; gets `folder` and the case.
        cases: how to draw them.
        count: how many.
        folder: see `check`.
        number: seed; the same cases for the same one.
    """
    limits = settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],  # making a case smaller takes minutes
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    seed(number)(limits(given(cases)(lambda case: check(folder, case))))()


PARTS: dict[str, tuple[Check, st.SearchStrategy[Any], float]] = {
    "records": (check_record, records(READERS), 0.5),
    "figures": (check_record, records(SLOW_READERS), 0.05),
    "checkpoints": (check_checkpoint, checkpoints(), 0.05),
    "data files": (check_data, data_files(), 0.2),
    "command lines": (check_command_line, command_lines(), 0.1),
    "wrong words": (check_wrong, st.sampled_from(WRONG_WORDS), 0.1),
}
"""What is checked, the cases, and their share."""


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--cases", type=int, default=10_000, help="of all parts together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for part in options.parts:
        check, cases, share = PARTS[part]
        count = round(options.cases * share)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with alarmed() if part in ("command lines", "wrong words") else prepared(folder):
                fuzz(check, cases, count, folder, options.seed)
        print(f"{part}: {count} cases with seed {options.seed} are borne", flush=True)


if __name__ == "__main__":
    _main()
