"""The networks of the timm library (Wightman, github.com/huggingface/pytorch-image-models), untrained."""

import difflib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from senet_lab.errors import UsageError
from senet_lab.networks.squeeze_excite import NO_SE, Placement
from senet_lab.networks.unit import ActLayer

# Activations of PyTorch, and timm's names for its versions; gates (sigmoid, tanh, …) are not replaced.
MODULES = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.PReLU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish)
ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "elu", "prelu", "celu", "selu", "gelu", "gelu_tanh", "quick_gelu",
    "silu", "mish", "hard_swish", "hard_mish",
)  # fmt: skip
FUNCTIONS = {"relu", "relu_", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish"}


class Timm(nn.Module):
    """A timm network with the activation under test at every site.

    Args:
        num_classes: number of logits.
        act_layer: the activation under test.
        name: name of the network in `timm.list_models()`.
        after: regular expression for full paths of modules whose output SE gates.
        se: placement of SE; in stage 2, after each of these modules, in addition to the network's own SE.

    Raises:
        UsageError: timm is not installed or has no such network; an activation of the network cannot be
            replaced; SE without a module that `after` matches.
    """

    def __init__(
        self,
        num_classes: int,
        act_layer: ActLayer,
        name: str,
        after: str | None = None,
        se: Placement = NO_SE,
    ) -> None:
        super().__init__()
        timm = _import_timm(name)
        self.network = timm.create_model(name, num_classes=num_classes)
        kinds = (*MODULES, *(timm.layers.get_act_layer(kind) for kind in ACTIVATIONS))
        sites = {path: module for path, module in self.network.named_modules() if isinstance(module, kinds)}
        for path, channels in _widths(timm, name, sites).items():
            self.network.set_submodule(path, act_layer(channels))
        if se.stages:
            se.check(range(2, 6), ["standard"])
            paths = [path for path, _ in self.network.named_modules() if after and re.fullmatch(after, path)]
            for path, channels in _output_widths(timm, name, paths).items():
                slots = se.slots(2, {"pre": channels, "standard": channels}, act_layer)
                layers = OrderedDict(module=self.network.get_submodule(path), **slots)
                self.network.set_submodule(path, nn.Sequential(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, num_classes)."""
        return self.network(x)


def _import_timm(name: str) -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise UsageError("model=timm: timm is not installed; pip install 'senet-lab[timm]'") from error
    known = timm.list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"model.name={name}: timm has no such network{hint}")
    return timm


def _widths(timm: ModuleType, name: str, sites: dict[str, nn.Module]) -> dict[str, int]:
    """The width of each site, from a forward pass on the meta device.

    Raises:
        UsageError: one activation module at several sites, or an activation that is no module.
    """
    widths: dict[str, int] = {}
    with torch.device("meta"):
        twin = timm.create_model(name).eval()
        image = torch.empty(1, *twin.default_cfg["input_size"])
    refusal = f"model.name={name}: its activations cannot all be replaced"

    for path in sites:
        twin.set_submodule(path, _Site(path, widths, refusal))
    with torch.no_grad(), _NoFunctions(refusal):
        twin(image)
    return widths


def _output_widths(timm: ModuleType, name: str, paths: Iterable[str]) -> dict[str, int]:
    """The output channels of each of these modules, from a forward pass on the meta device.

    Raises:
        UsageError: no module.
    """
    widths: dict[str, int] = {}
    with torch.device("meta"):
        twin = timm.create_model(name).eval()
        image = torch.empty(1, *twin.default_cfg["input_size"])

    def keep(path: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, output: widths.update({path: output.shape[1]})

    for path in paths:
        twin.get_submodule(path).register_forward_hook(keep(path))
    with torch.no_grad():
        twin(image)
    if not widths:
        raise UsageError(
            f"se: model.after matches no module of {name}; for inception_v3 as 'model.after=\"Mixed_[^.]*\"'"
        )
    return widths


class _Site(nn.Module):
    """A placeholder for an activation that records the width of its input."""

    def __init__(self, path: str, widths: dict[str, int], refusal: str) -> None:
        super().__init__()
        self.path, self.widths, self.refusal = path, widths, refusal

    def forward(self, x: Tensor) -> Tensor:
        if self.path in self.widths:
            raise UsageError(f"{self.refusal}: {self.path} is one module at several sites")
        self.widths[self.path] = x.shape[1 if x.ndim == 4 else -1]  # maps (N, C, H, W), tokens (N, L, C)
        return x


class _NoFunctions(TorchFunctionMode):
    """Refuses activations that are called as functions."""

    def __init__(self, refusal: str) -> None:
        super().__init__()
        self.refusal = refusal

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        if getattr(func, "__name__", "") in FUNCTIONS:
            raise UsageError(f"{self.refusal}: it calls {func.__name__} as a function")
        return func(*args, **(kwargs or {}))
