"""Software and hardware of an attempt at a run: versions, device, source."""

import platform
import shutil
import socket
import subprocess
from functools import lru_cache

import numpy
import torch

from senet_lab.records.plan import source_hash
from senet_lab.records.run import Environment, Git
from senet_lab.training.engine import Engine
from senet_lab.version import PACKAGE, __version__


def environment(engine: Engine, threads: int, data: str) -> Environment:
    """This process's software and hardware, for `environment.json`.

    Args:
        engine: device and precision.
        threads: CPU threads.
        data: fingerprint of the data set.
    """
    return Environment(
        senet_lab=__version__,
        git=git_state(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        device=device_name(engine.device),
        device_type=engine.device.type,
        precision=engine.precision,
        threads=threads,
        host=socket.gethostname(),
        platform=platform.platform(),
        source=source_hash(),
        numpy=numpy.__version__,
        data=data,
    )


def device_name(device: torch.device) -> str:
    """The GPU's name, or the CPU's architecture and the instruction set that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


@lru_cache(maxsize=1)
def git_state() -> Git | None:
    """Commit of the checkout that contains this package; None outside one or before its first commit."""
    if shutil.which("git") is None or _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git("rev-parse", "--verify", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return None if commit is None else Git(commit, dirty=changes != "")


def _git(*words: str) -> str | None:
    """Output of a git command in the package's folder; None if it fails."""
    done = subprocess.run(["git", *words], cwd=PACKAGE, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
