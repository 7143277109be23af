"""Damaged records and odd command lines at random: no traceback, no hang, no file touched.

python tests/faults/fuzz.py --cases 10000
"""

import argparse
import io
import json
import os
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

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import senet_lab as sl
from senet_lab import session
from senet_lab.cli import main
from senet_lab.composition import command
from senet_lab.errors import UsageError

SWEEP = Path(__file__).parents[1] / "records/sweeps/d55bf84"
FILES = sorted(file.relative_to(SWEEP).as_posix() for file in SWEEP.rglob("*") if file.is_file())
SECONDS = 120
"""Limit of one case, against hanging."""

ODD_VALUES: list[Any] = [
    None, True, -1, 0, 2, 10**30, 1e400, float("nan"), "", "7", "x" * 300, "${oc.env:HOME}", "../../x",
    "/dev/zero", "\x1b[31m", "[/x]", "=1+1", "a\0b", [], {}, [[]],
    {"_target_": "os.mkdir", "path": "ran"},
]  # fmt: skip
ODD_BYTES = [
    b"", b"\0", b"\xff", b"\n", b",", b"-1", b"nan", b"1e400", b"99999999999999999999999", b"7.5", b"{",
    b"]", b"*a", b"!!python/name:os.system ", b"${oc.env:HOME}", b"\x1b[31m", b"\xc3\xa9", b": ", b"\t",
    b"null",
]  # fmt: skip
WHOLE = [b"", b"null", b"[]", b"{}", b"0", b'"text"', b"[" * 100_000, b"\xff\xfe", b"what\n1\n"]
NO_FILES = ("pipe", "folder", "link to /dev/zero", "link to nothing")
READERS = ("status", "status format=json", "verify", "remove activation=relu", "Python")
SLOW_READERS = ("plot formats=[html] folder=mine", "compare against=d55bf84", "report")
"""They draw, which takes a second; for the long run."""

KEYS = [
    "epochs", "batch_size", "lr", "seed", "model", "model.depths", "model.widths", "model._target_",
    "model.label", "activation", "activation._target_", "activation.label", "activation.alpha",
    "activation.style", "se", "dataset", "dataset.path", "dataset.image_size", "dataset.classes",
    "dataset.validation", "augment", "optimizer", "optimizer._target_", "optimizer.lr", "schedule",
    "schedule._target_", "figure", "experiment", "tracker", "tracker._target_", "trainer",
    "trainer.device", "trainer.precision", "checkpoint.every", "checkpoint.min_seconds", "figures.metric",
    "figures.line", "figures.y_range", "figures.x", "scaling.phi", "hydra/launcher", "hydra.launcher",
    "hydra.launcher.n_jobs", "hydra.searchpath", "name", "plan", "pack", "fail_fast", "protocol",
    "published", "epoch", "a.b", "",
]  # fmt: skip
TYPED = [
    "", "null", "true", "-1", "0", "1", "1.5", "1e400", "nan", "99999999999999999999999", "[]", "[1]",
    "[a]", "[[]]", "{}", "{a:1}", "{a:{_target_:os.mkdir}}", "relu", "'a\0b'", "../x", "a/b",
    "${oc.env:HOME}", "${lr}", "${", "[/x]", "range(0)", "range(1,3)", "interval(0,1)", "choice(1,2)",
    "choice()", "shuffle(1,2)", "sort(2,1)", "tag(a,1)", "glob(no*)", "os.system", "torch.nn.ReLU",
    "senet_lab.cli.main", "relu,mish", "1,1", "'", "\"",
]  # fmt: skip
VERBS = ("train", "summary", "status", "verify", "plot", "report", "inspect", "watch")


@st.composite
def damages(draw: st.DrawFn, file: str) -> bytes | str:
    """New content of a file of the sweep, or what stands in its place."""
    content = (SWEEP / file).read_bytes()
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
    return json.dumps(_with_odd_value(draw, json.loads(content))).encode()


def _with_odd_value(draw: st.DrawFn, content: Any) -> Any:
    """Plain values with one of them replaced or taken away."""
    if not isinstance(content, dict | list) or not content or draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(ODD_VALUES))
    keys = list(content) if isinstance(content, dict) else list(range(len(content)))
    key = draw(st.sampled_from(keys))
    if draw(st.integers(0, 9)) == 0:
        del content[key]
    else:
        content[key] = _with_odd_value(draw, content[key])
    return content


@st.composite
def records(draw: st.DrawFn, readers: Sequence[str]) -> tuple[str, bytes | str, str]:
    """A file, its damage, and the verb that reads it."""
    file = draw(st.sampled_from(FILES))
    return file, draw(damages(file)), draw(st.sampled_from(readers))


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A verb with one to three odd overrides."""
    words = draw(
        st.lists(
            st.builds(
                "{}{}={}".format,
                st.sampled_from(["", "", "", "+", "++", "~"]),
                st.sampled_from(KEYS),
                st.sampled_from(TYPED),
            ),
            min_size=1,
            max_size=3,
        )
    )
    return [draw(st.sampled_from(VERBS)), *draw(st.sampled_from([[], ["-m"]])), *words]


def check_record(folder: Path, case: tuple[str, bytes | str, str]) -> None:
    """Have a verb read `folder`/d55bf84 with one damaged file; an AssertionError if it does not bear it."""
    name, damage, reader = case
    file = folder / "d55bf84" / name
    original = file.read_bytes()
    file.unlink()
    try:
        _place(file, damage)
        before = _state(folder)
        _bears(reader.split(), folder)
        shutil.rmtree(folder / "mine", ignore_errors=True)
        written = ("report.html", "compare")
        after = {path: state for path, state in _state(folder).items() if Path(path).name not in written}
        assert {path: after.get(path) for path in before} == before
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


def _state(folder: Path) -> dict[str, tuple[int, int, int]]:
    files = (path for path in folder.rglob("*") if not path.is_dir() and path.name != ".plan.lock")
    found = {path.as_posix(): path.lstat() for path in files}
    return {path: (one.st_ino, one.st_size, one.st_mtime_ns) for path, one in found.items()}


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
        sweep.final()
    return 0


@contextmanager
def prepared(folder: Path) -> Iterator[None]:
    """Within, `folder` holds a sweep, and equal commands are composed once; a hang raises TimeoutError."""
    shutil.copytree(SWEEP, folder / "d55bf84")
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


def fuzz(check: Callable[[Any], None], cases: st.SearchStrategy[Any], count: int, is_fixed: bool) -> None:
    """Check `count` cases; the smallest one that fails is raised, with its values in the traceback's notes.

    Args:
        check: raises for a case that fails.
        cases: how to draw them.
        count: how many.
        is_fixed: the same ones at each call, and none made smaller, which takes minutes.
    """
    limits = settings(
        max_examples=count,
        derandomize=is_fixed,
        database=None,
        phases=[Phase.generate] if is_fixed else [Phase.generate, Phase.shrink],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    limits(given(cases)(check))()


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    count = parser.parse_args().cases
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with prepared(folder):
            slow = count // 20
            fuzz(lambda case: check_record(folder, case), records(READERS), count * 7 // 10, is_fixed=False)
            fuzz(lambda case: check_record(folder, case), records(SLOW_READERS), slow, is_fixed=False)
    with tempfile.TemporaryDirectory() as name, alarmed():
        fuzz(lambda words: check_command_line(Path(name), words), command_lines(), count // 4, is_fixed=False)
    print(f"{count} cases: no traceback, no hang, no file touched")


if __name__ == "__main__":
    _main()
