"""What makes a step faster on CUDA and leaves what it computes as it is."""

import os
import shutil
import sysconfig
from pathlib import Path

from torch import nn
from torch.utils._triton import has_triton

from senet_lab.networks.activations import MTAct, TAct

__all__ = ["quicken", "triton_works"]


def quicken(network: nn.Module) -> None:
    """Give TAct and mTAct one kernel each way; their coefficients stay what they are.

    Where Triton does not work, or with a pair of coefficients a channel, nothing happens.
    """
    if not triton_works():
        return
    from senet_lab.training.cuda.tact import QuickMTAct, QuickTAct

    for module in network.modules():
        for plain, quick in ((TAct, QuickTAct), (MTAct, QuickMTAct)):
            if type(module) is plain and not module.alpha.ndim:
                module.__class__ = quick


def triton_works() -> bool:
    """Whether there are Triton, a GPU that it supports, and what it builds its launcher with."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return has_triton() and compiler is not None and header.exists()
