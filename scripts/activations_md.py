"""Write docs/activations.md: every activation with its formula, its source, and its cost measured here."""

import re
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from senet_lab.build import build_act_layer
from senet_lab.composition.command import config_folder, options
from senet_lab.files import read_yaml
from senet_lab.networks.gallery import Portrait, gallery
from senet_lab.training import cpu

FILE = Path(__file__).parent.parent / "docs" / "activations.md"
SHAPE = (32, 64, 32, 32)
"""Shape of the timed feature map."""
ROUNDS = 15
FORMATS = (torch.float32, torch.bfloat16)

TEXT = """# Activations

Written by `python scripts/activations_md.py`; a test compares everything except the measured costs. Choose
one with `activation=<name>`; `senet-lab train -m activation=relu,gelu,tact` sweeps over three. The YAML files
in `conf/activation/` hold formula, source and initial values, which are the published ones.

| activation | f(x) | learned | ns, float32 | ns, bfloat16 | bytes, float32 | bytes, bfloat16 | source |
| --- | --- | --- | ---: | ---: | ---: | ---: | --- |
{rows}

- σ is the logistic function. Coefficients are learned at each site, one for the whole map or one per channel,
  and recorded under the names given here. Networks under `model=published/` share an activation between sites
  of different widths, so they need `activation.per_channel=false` where that key exists.
- Random initial values (ACON-C, Meta-ACON and APL at each site; TAct and mTAct once per run) come from the
  run's seed and do not change the network's weights. RReLU draws its slopes from the run's global generator
  in each training step.
- ns: processor time of forward and backward pass, nanoseconds per element, one thread, median of {rounds}
  rounds over all activations, on a map of {shape} in channels_last, with the layers of CPU
  training. The machine was shared: read them as ratios.
- bytes: feature maps that autograd keeps for the backward pass, per element. If that is the input or the
  output only, a neighbouring layer often keeps the same map anyway.
- Activations with a class in this package, except RReLU and Meta-ACON, compute in float32 for any input
  dtype and keep only their input: the backward pass recomputes the formula.

Measured on {machine}.
"""


def row(portrait: Portrait, costs: Sequence[str]) -> str:
    """One row of the table."""
    learned = ", ".join(f"`{name}`" for name in portrait.learned)
    learned += ", per channel" if portrait.per_channel else ""
    cells = [f"`{portrait.name}`", portrait.formula, learned, *costs, portrait.source]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def document(costs: Mapping[str, Sequence[str]], machine: str) -> str:
    """The whole page.

    Args:
        costs: nanoseconds, then bytes, in each of `FORMATS`, by activation.
        machine: name of the machine on which they were measured.
    """
    rows = [row(portrait, costs[portrait.name]) for portrait in gallery(np.zeros(1), build_act_layer)]
    shape = "×".join(map(str, SHAPE))
    return TEXT.format(rows="\n".join(rows), rounds=ROUNDS, shape=shape, machine=machine)


def costs_of(page: str) -> tuple[dict[str, list[str]], str]:
    """The measured costs and the machine of an existing page, as arguments of `document`."""
    lines = [
        re.split(r"(?<!\\) \| ", line.strip("| ")) for line in page.splitlines() if line.startswith("| `")
    ]
    (machine,) = re.findall(r"^Measured on (.*)\.$", page, re.MULTILINE)
    return {cells[0].strip("`"): cells[3:7] for cells in lines}, machine


def kept(act: nn.Module, x: Tensor) -> float:
    """Bytes per element of feature maps that autograd saves for the backward pass."""
    maps: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.numel() >= x.numel():
            maps[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        act(x)
    return sum(maps.values()) / x.numel()


def seconds(act: nn.Module, x: Tensor, grad: Tensor) -> float:
    """Processor time of one forward and backward pass."""
    started = time.process_time()
    torch.autograd.grad(act(x), (x, *act.parameters()), grad)
    return time.process_time() - started


def measure() -> dict[str, list[str]]:
    """Measure the costs of all activations, each timed once per round."""
    torch.set_num_threads(1)
    cpu.keep_memory()
    acts = {}
    for name in options("activation"):
        node = read_yaml(config_folder() / "activation" / f"{name}.yaml")
        acts[name] = nn.Sequential(build_act_layer(node, 0)(SHAPE[1]))
        cpu.use_fast_layers(acts[name])
    inputs = []
    for dtype in FORMATS:
        x, grad = (torch.randn(SHAPE).to(dtype, memory_format=torch.channels_last) for _ in range(2))
        inputs.append((x.requires_grad_(), grad))
    times: dict[str, list[list[float]]] = {name: [] for name in acts}
    for _ in range(ROUNDS + 1):
        for name, act in acts.items():
            times[name].append([seconds(act, x, grad) for x, grad in inputs])
    costs = {}
    for name, act in acts.items():
        each = zip(*times[name][1:], strict=True)  # the first round warms up
        nanoseconds = [1e9 * statistics.median(rounds) / inputs[0][0].numel() for rounds in each]
        memory = [kept(act, x) for x, _ in inputs]
        costs[name] = [*(f"{value:.1f}" for value in nanoseconds), *(f"{value:.0f}" for value in memory)]
    return costs


def machine() -> str:
    """Processor and version of PyTorch."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return f"{model}, one thread, torch {torch.__version__}"


if __name__ == "__main__":
    FILE.write_text(document(measure(), machine()), "utf-8")
