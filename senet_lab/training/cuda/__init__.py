"""Drop-in CUDA fast paths with the same values."""

import os
import shutil
import sysconfig
from pathlib import Path

from torch import nn
from torch.utils._triton import has_triton

from senet_lab.networks.activations import MTAct, TAct
from senet_lab.training.cuda.casts import forward_with_cast_weights
from senet_lab.training.cuda.norms import count_batches, use_fast_norms

__all__ = [
    "count_batches",
    "forward_with_cast_weights",
    "triton_works",
    "use_fast_layers",
    "use_fast_norms",
]


def use_fast_layers(network: nn.Module) -> None:
    """Replace TAct and mTAct by Triton kernels, one forward and one backward, in place; coefficients stay.

    No effect if Triton does not work, or for coefficients per channel.
    """
    if not triton_works():
        return
    from senet_lab.training.cuda.tact import FastMTAct, FastTAct

    for module in network.modules():
        for plain, fast in ((TAct, FastTAct), (MTAct, FastMTAct)):
            if type(module) is plain and not module.alpha.ndim:
                module.__class__ = fast


def triton_works() -> bool:
    """Whether Triton, a supported GPU, a C compiler and Python's headers are available."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    # As Triton looks for it: a system Python on Debian has another default scheme, without the header.
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")
    header = Path(sysconfig.get_path("include", scheme)) / "Python.h"
    return has_triton() and compiler is not None and header.exists()
