"""Networks as a run builds them, from the YAML in conf/."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from senet_lab.build import build_network
from senet_lab.composition.command import compose_command, config_folder

CONF = config_folder()


def options(group: str) -> list[str]:
    """Every option of a config group, such as ``published/senet18``."""
    folder = CONF / group
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


@pytest.fixture(scope="session")
def config() -> Callable[..., dict[str, Any]]:
    """``config("model=senet18", "se=bump", seed=0)``: the values of a run."""

    @functools.cache
    def composed(*overrides: str, seed: int = 0) -> dict[str, Any]:
        return compose_command("train", [*overrides, f"seed={seed}"]).points[0].config

    return composed


@pytest.fixture(scope="session")
def build(config: Callable[..., dict[str, Any]]) -> Callable[..., nn.Module]:
    """``build("model=senet18", "activation=tact", num_classes=10, seed=0)``: the network of that run."""

    def built(*overrides: str, num_classes: int = 10, seed: int = 0) -> nn.Module:
        return build_network(config(*overrides, seed=seed), num_classes)

    return built


@pytest.fixture(scope="session")
def efficientnet(build: Callable[..., nn.Module]) -> Callable[[int], tuple[nn.Module, nn.Module]]:
    """``efficientnet(3)``: our B3 and torchvision's, on the meta device, for tests that change neither."""

    @functools.cache
    def pair(number: int) -> tuple[nn.Module, nn.Module]:
        with torch.device("meta"):
            theirs = getattr(torchvision.models, f"efficientnet_b{number}")().eval()
            return build(f"model=efficientnet_b{number}", num_classes=1000), theirs

    return pair
