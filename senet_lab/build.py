"""Build objects from the config nodes of a run."""

import inspect
import itertools
import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from senet_lab.config import RunConfig
from senet_lab.data.augment import Augment, Operations
from senet_lab.data.batches import check_batch_size
from senet_lab.data.dataset import DataSet
from senet_lab.errors import UsageError
from senet_lab.networks.activations import activation_sites, as_site, coefficients
from senet_lab.networks.initialise import INITS
from senet_lab.networks.squeeze_excite import Placement
from senet_lab.networks.summary import count_operations
from senet_lab.optim import parameter_groups
from senet_lab.seeding import Stream, generator, stream_seed
from senet_lab.targets import Kinds, construct, find_class, own_packages

PACKAGES = ("senet_lab.networks", "senet_lab.data", "senet_lab.optim", "torch.nn", "torch.optim")
"""Allowed packages for `_target_`, besides the user's own."""

KINDS: dict[str, Kinds] = {
    "model": [nn.Module],
    "activation": [nn.Module],
    "se": [Placement],
    "dataset": [DataSet],
    "augment": [Augment, Operations],
    "optimizer": [torch.optim.Optimizer],
    "schedule": [torch.optim.lr_scheduler.LRScheduler],
}
"""The kinds of objects of each node and of nodes inside it."""

Node = Mapping[str, Any]
ActLayer = Callable[[int], nn.Module]


def build_dataset(node: Node) -> Any:
    """The data set of a run; equal nodes share one object, so that a process loads it once."""
    return _cached_dataset(json.dumps(node, sort_keys=True))


@lru_cache(maxsize=4)
def _cached_dataset(node: str) -> Any:
    return _build("dataset", json.loads(node))


def build_augment(node: Node) -> Any:
    """The augmentation of a run."""
    return _build("augment", node)


def build_network(config: RunConfig, num_classes: int, act_layer: ActLayer | None = None) -> nn.Module:
    """The network of a run on the CPU, its weights drawn from the run's seed.

    Args:
        config: the run's config.
        num_classes: width of the last layer, unless the network fixes it.
        act_layer: replaces the config's activation.
    """
    model = config.model
    arguments: dict[str, Any] = {
        "num_classes": num_classes,
        "act_layer": act_layer or build_act_layer(config.activation, config.seed),
    }
    takes_se = "se" in inspect.signature(_target("model", model)).parameters
    if takes_se:
        arguments["se"] = _build("se", config.se)
    elif config.se.get("stages"):
        raise UsageError(f"se={config.se['name']}: {model['name']} has no place for it; use se=none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.seed, Stream.WEIGHTS))
        network = _build("model", model, **arguments)
        INITS[config.init](network)
    return network


def build_act_layer(node: Node, seed: int) -> ActLayer:
    """A factory that networks call once per site with the site's width.

    A value written as `[low, high]` is drawn here, once per run, for all sites. Classes draw their own
    initial values from a separate stream per site, so that the network's weights do not depend on the
    activation.
    """
    draws = generator(seed, Stream.ACTIVATION)
    arguments = {
        key: _uniform(key, value, draws) if isinstance(value, list) else value for key, value in node.items()
    }
    takes_channels = "channels" in inspect.signature(_target("activation", node)).parameters

    sites = itertools.count(1)

    def act_layer(channels: int) -> nn.Module:
        width = {"channels": channels} if takes_channels else {}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(stream_seed(seed, Stream.ACTIVATION, next(sites)))
            return as_site(_build("activation", arguments, **width))

    return act_layer


def build_optimizer(node: Node, network: nn.Module, lr: float, **flags: bool) -> torch.optim.Optimizer:
    """The optimizer over all of the network's parameters.

    Args:
        node: constructor arguments, and those of `optim.parameter_groups`.
        network: see `optim.parameter_groups`.
        lr: see `optim.parameter_groups`.
        flags: execution flags such as `fused`, for constructors that take them.
    """
    own = {key: value for key, value in node.items() if key not in ("no_decay", "coefficient_lr_factor")}
    takes = inspect.signature(_target("optimizer", own)).parameters
    decay = takes.get("weight_decay")
    groups = parameter_groups(
        network,
        [value for _, site in activation_sites(network) for value in coefficients(site).values()],
        lr,
        node.get("weight_decay", decay.default if decay else 0.0),
        **{key: value for key, value in node.items() if key not in own},
    )
    flags = {key: flag for key, flag in flags.items() if key in takes}
    return _build("optimizer", own, params=groups, lr=lr, **flags)


def build_schedule(
    node: Node, optimizer: torch.optim.Optimizer, total_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning-rate schedule: stepped after every batch if it `spans_training`, else after every epoch.

    Args:
        node: constructor arguments. A constructor that takes `max_lr` gets each group's learning rate.
        optimizer: the optimizer whose learning rates it sets.
        total_steps: batches of the whole training.
    """
    takes = inspect.signature(_target("schedule", node)).parameters
    rates = [group["lr"] for group in optimizer.param_groups]
    offered = {"total_steps": total_steps, "max_lr": rates}
    arguments = {key: value for key, value in offered.items() if key in takes and key not in node}
    return _build("schedule", node, optimizer=optimizer, **arguments)


def spans_training(node: Node) -> bool:
    """Whether a schedule is stepped per batch over the whole training, so that it depends on `epochs`.

    Other schedules depend on it only through `${epochs}` in their YAML.
    """
    return "total_steps" in inspect.signature(_target("schedule", node)).parameters


def check_run(config: RunConfig) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Build everything but the data of a run, on the meta device.

    Returns:
        Network and optimizer.

    Raises:
        UsageError: names the node and its error.
    """
    dataset = build_dataset(config.dataset)
    dataset.check()
    check_batch_size(dataset.train_images, config.batch_size // config.accumulate)
    build_augment(config.augment).take_statistics(dataset)
    network, optimizer, _ = build_on_meta(config)
    return network, optimizer


def build_on_meta(
    config: RunConfig,
) -> tuple[nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Network, optimizer and schedule of a run on the meta device: shapes without values."""
    dataset = build_dataset(config.dataset)
    with torch.device("meta"):
        network = build_network(config, dataset.num_classes)
        optimizer = build_optimizer(config.optimizer, network, config.lr)
        steps = math.ceil(dataset.train_images / config.batch_size)
        schedule = build_schedule(config.schedule, optimizer, config.epochs * steps)
    return network, optimizer, schedule


def pixels_at_once(config: RunConfig) -> int:
    """Pixels of a micro-batch: the work of one operation of a training step."""
    return config.batch_size // config.accumulate * input_size(config, build_dataset(config.dataset)) ** 2


def epoch_macs(config: RunConfig, network: nn.Module) -> int:
    """Multiply-accumulates of a network's forward pass over all training images.

    Args:
        config: of the run.
        network: the run's, on the meta device.

    Returns:
        The count; 0 if the forward pass depends on values, which the meta device lacks.
    """
    dataset = build_dataset(config.dataset)
    try:
        counter = count_operations(network, input_size(config, dataset))
    except (RuntimeError, TypeError):
        return 0
    return dataset.train_images * counter.get_total_flops() // 2


def input_size(config: RunConfig, dataset: DataSet) -> int:
    """Pixels a side of the images that the network gets."""
    return build_augment(config.augment).output_size(dataset.image_size)


def _uniform(key: str, bounds: list[Any], draws: torch.Generator) -> float:
    if len(bounds) != 2 or not all(
        isinstance(bound, int | float) and math.isfinite(bound) for bound in bounds
    ):
        raise UsageError(f"activation.{key}={bounds}: must be one number, or [low, high] to draw it from")
    low, high = bounds
    return low + (high - low) * float(torch.rand((), generator=draws, dtype=torch.float64, device="cpu"))


def _target(group: str, node: Node) -> type:
    """The class that a node names; see `find_class`."""
    return find_class(f"{group}._target_", node.get("_target_"), KINDS[group][:1], _allowed())


def _build(group: str, node: Node, **arguments: Any) -> Any:
    """The object of a node; see `construct`."""
    return construct(group, node, KINDS[group], _allowed(), **arguments)


def _allowed() -> list[str]:
    return [*PACKAGES, *own_packages()]
