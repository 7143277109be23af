"""Config-driven sweeps over activations, learning rates and squeeze-and-excitation variants.

    import senet_lab as sl

    sweep = sl.train("model=senet18", "activation=relu,mish", "seed=0,1,2", "name=first")
    sweep.final(metric="test_error")
    sweep.figure("senet18_lr0.001")

`compose` lists the runs of a command line, `train` executes them, `open_sweep` opens the records of a sweep.
Importing this package imports neither torch nor bokeh.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from senet_lab.version import __version__

if TYPE_CHECKING:
    from senet_lab.api import Sweep, compose, open_sweep, train
    from senet_lab.errors import UsageError

__all__ = ["Sweep", "UsageError", "__version__", "compose", "open_sweep", "train"]


def __getattr__(name: str) -> Any:
    """Import public names on first use."""
    if name == "UsageError":
        return import_module("senet_lab.errors").UsageError
    if name in __all__:
        return getattr(import_module("senet_lab.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
