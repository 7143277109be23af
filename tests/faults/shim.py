"""`senet-lab` with a fault at the n-th point: the process dies, or a call fails.

    python tests/faults/shim.py

is the server that a `Server` starts: it has imported torch and its compiler, and forks for each command.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from importlib import import_module
from pathlib import Path
from shutil import which
from typing import Any

SOURCE = Path(__file__).with_suffix(".c")
REASON = "the shim that injects faults needs Linux and a C compiler called cc"
IMPORTS = (
    "senet_lab.runs.execute",
    "senet_lab.commands.train",
    "senet_lab.commands.plot",
    "senet_lab.commands.report",
    "senet_lab.figures.charts",
    "senet_lab.figures.export",
    "senet_lab.figures.sections",
    "senet_lab.figures.page",
    "torch._dynamo",  # which the first optimizer of a process imports, for two seconds
)
TRACEBACK = 70
"""The exit code of a command that ended in an exception."""


class Fault(IntEnum):
    """What happens at the point; the same order as in shim.c."""

    NONE = 0
    BEFORE = 1
    """The process dies before the call."""
    HALF = 2
    """It dies when half of the data are written."""
    AFTER = 3
    """It dies after the call."""
    DROP_DATA = 4
    """It dies after the call, and the power cut takes data that were not synced."""
    DROP_NAMES = 5
    """It dies after the call, and the power cut takes names of directories that were not synced."""
    FAIL = 6
    """The call fails, this one alone."""
    FAIL_ON = 7
    """The call fails, and so do those after it."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    """Its exit code; of a process that was killed, minus the signal."""
    epochs: int
    """That it trained, the one under way when it died counted in."""
    kinds: str
    """A letter for each point that it came to, see shim.c; empty where it was killed."""
    at_risk: str
    """A digit for each of these: what a power cut could take after it."""
    said: str
    """Its last line, on either stream."""


def has_compiler() -> bool:
    """Whether the shim can be built here."""
    return sys.platform == "linux" and which("cc") is not None


def build(folder: Path) -> Path:
    """The shim as a library in `folder`."""
    library = folder / "shim.so"
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Server:
    """A process in which the shim is loaded; use as a context."""

    def __init__(self, library: Path) -> None:
        """Start the process with the shim that `build` made."""
        environment = {**os.environ, "LD_PRELOAD": str(library), "LOKY_MAX_CPU_COUNT": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        point: int = 0,
        fault: Fault = Fault.NONE,
        error: int = 0,
    ) -> Outcome:
        """`senet-lab` with these arguments.

        Args:
            arguments: after the program's name.
            folder: below which points are counted.
            point: where the fault happens, from 1.
            fault: which.
            error: the error number of a call that fails.
        """
        request = [list(arguments), str(folder), point, fault, error]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Outcome(**json.loads(self.process.stdout.readline()))


def _serve() -> None:
    for module in IMPORTS:
        import_module(module)
    gc.freeze()  # a child's collection would go over all of them, for half a second
    for line in sys.stdin:
        print(json.dumps(_in_child(*json.loads(line))), flush=True)


def _in_child(arguments: list[str], folder: str, point: int, fault: int, error: int) -> dict[str, Any]:
    heard, told = os.pipe()
    log = os.memfd_create("log")
    child = os.fork()
    if child == 0:
        os.dup2(log, 1)
        os.dup2(log, 2)
        os._exit(_run(arguments, told, folder, point, fault, error))
    os.close(told)
    with os.fdopen(heard, "rb") as file:
        epochs, _, points = file.read().partition(b"\n")
    _, status = os.waitpid(child, 0)
    with os.fdopen(log, "rb") as file:
        file.seek(0)
        said = file.read().decode().rstrip().rpartition("\n")[2]
    return {
        "code": os.waitstatus_to_exitcode(status),
        "epochs": len(epochs),
        "kinds": points[: len(points) // 2].decode(),
        "at_risk": points[len(points) // 2 :].decode(),
        "said": said,
    }


def _run(arguments: list[str], told: int, folder: str, point: int, fault: int, error: int) -> int:
    from senet_lab.cli import main
    from senet_lab.training.loop import Stop, Training, step_hooks

    def tell(training: Training, step: int, stop: Stop) -> None:
        if step == 0:
            os.write(told, b"E")

    step_hooks.append(tell)
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    shim.faults_kinds.restype = shim.faults_at_risk.restype = ctypes.c_char_p
    backups = Path(folder).with_name("backups")
    backups.mkdir(parents=True, exist_ok=True)
    shim.faults_arm(os.fsencode(folder), os.fsencode(backups), ctypes.c_long(point), fault, error)
    try:
        code = main(arguments)
    except BaseException:
        traceback.print_exc()
        code = TRACEBACK
    os.write(told, b"\n" + shim.faults_kinds() + shim.faults_at_risk())
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    _serve()
