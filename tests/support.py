"""Shared test helpers: a data set and a network with epochs of a tenth of a second, exact TAct, graphs."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from senet_lab.data.dataset import load
from senet_lab.data.datasets import Digits
from senet_lab.networks.activations import MTAct, TAct

TINY_MODEL = ("model=resnet18", "model.depths=[1,1]", "model.widths=[8,16]")


def tiny_arrays(folder: Path, train: int = 96, test: int = 48) -> Path:
    """A file for `dataset=arrays` with the first training and test images of the digits."""
    file = folder / "tiny.npz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        data = load(Digits())
        np.savez(
            file,
            x_train=data.x_train[:train],
            y_train=data.y_train[:train],
            x_test=data.x_test[:test],
            y_test=data.y_test[:test],
        )
    return file


def tiny(folder: Path) -> list[str]:
    """Overrides of a tiny run whose records go to `folder`/outputs."""
    return [
        *TINY_MODEL,
        "dataset=arrays",
        f"dataset.path={tiny_arrays(folder)}",
        "dataset.classes=10",
        "batch_size=32",
        "epochs=2",
        f"outputs={folder / 'outputs'}",
    ]


def rows_without_seconds(metrics: Path) -> list[Sequence[str]]:
    """The rows of a `metrics.csv` as text, without the column `seconds`."""
    with metrics.open(newline="") as file:
        rows = list(csv.reader(file))
    place = rows[0].index("seconds")
    return [row[:place] + row[place + 1 :] for row in rows]


def compiled_steps(module: nn.Module, x: Tensor) -> list[str]:
    """The names of the operations in the one graph that `torch.compile` makes of a module for x."""
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable:
        graphs.append(graph)
        return graph

    torch.compile(module, backend=keep, fullgraph=True)(x)
    (graph,) = graphs
    calls = [node for node in graph.graph.nodes if node.op.startswith("call_")]
    return [getattr(node.target, "__name__", str(node.target)) for node in calls]


def distances_of_tact(act: TAct, x: Tensor, grad: Tensor, once: float) -> list[float]:
    """Errors of output and gradients of x, α and β against float64, relative to the rounding bounds.

    Args:
        act: TAct or mTAct with scalar coefficients up to 1.
        x, grad: its input and the gradient of its output, up to some 20.
        once: the relative error of rounding to x's format.
    """
    x = x.detach().requires_grad_()
    exact_x, alpha, beta = (one.detach().double().requires_grad_() for one in (x, act.alpha, act.beta))
    a, b = (alpha.square(), beta.square()) if isinstance(act, MTAct) else (alpha, beta)
    exact = (a * exact_x + 1 - a) * ((1 + b) * exact_x).sigmoid()
    out = act(x)
    assert out.dtype == x.dtype
    got = (out, *torch.autograd.grad(out, (x, act.alpha, act.beta), grad))
    want = (exact, *torch.autograd.grad(exact, (exact_x, alpha, beta), grad.double()))
    # Some ten operations in float32 on terms of the size of x, or of the gradient, and of 1; one rounding to
    # x's format. Sums of terms of up to 20.
    sizes = (1 + one.detach().double().abs() for one in (x, grad))
    terms = [20 * 2.0**-23 * size + once * one.abs() for size, one in zip(sizes, want[:2], strict=True)]
    sums = [torch.tensor(20 * x.numel() ** 0.5 * 2.0**-23, device=x.device)] * 2
    return [
        ((one - other).abs() / bound).max().item()
        for one, other, bound in zip(got, want, terms + sums, strict=True)
    ]
