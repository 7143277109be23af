"""Protocol of a comparison from its declaration: arms, blocks, and each arm's config in each block."""

from collections.abc import Mapping, Sequence
from typing import Any

from senet_lab.composition.command import Command, Point
from senet_lab.config import ErrorMetric, ProtocolConfig, RunConfig, Tuning, as_plain
from senet_lab.dotted import get_value, leaves
from senet_lab.errors import UsageError
from senet_lab.records.protocol import Cell, Protocol
from senet_lab.runs.space import ETA, rungs, trials

PROBES = {"seed": 2**53 - 111, "epochs": 9_999_991}
"""Improbable values, to find keys that interpolate these."""
PROBE_OF_SPACE = 1.2345678e-6


def declare(declared: ProtocolConfig, command: Command, line: str) -> Protocol:
    """The protocol of a command whose points are the arms in the blocks.

    Args:
        declared: the YAML's `protocol`.
        command: the composed command.
        line: the command line as typed, without its execution keys.

    Raises:
        UsageError: fewer than two arms; a baseline that is no arm; an axis that the protocol itself varies;
            no validation images; a space over a value that is no number; a value computed from the seed or a
            tuned value; unsound halving; a label that cannot be printed.
    """
    points = command.points
    options = [_option(point, declared.arms) for point in points]
    if len(set(options)) < 2:
        raise UsageError(
            f"protocol.arms={declared.arms}: sweep over it, with two options or more, as {declared.arms}=a,b"
        )
    if declared.baseline not in options:
        known = ", ".join(dict.fromkeys(options))
        raise UsageError(f"protocol.baseline={declared.baseline} is none of the arms: {known}")
    for point in points:
        _check_space(declared, as_plain(point.config))
        if declared.tuning is Tuning.halving:
            _check_halving(declared, point.config)
    follows = _follows(declared, command)
    arms, blocks = _arm_labels(declared, points, options), _block_labels(declared, points)
    for label in (*arms.values(), *blocks):
        if not label.isprintable():
            raise UsageError(f"the label {label!r} has characters that cannot be printed: leave them out")
    cells = [
        _cell(declared, point, option, arms[option], block, keys)
        for point, option, block, keys in zip(points, options, blocks, follows, strict=True)
    ]
    return Protocol(declared, arms[declared.baseline], line, cells)


def _option(point: Point, axis: str) -> str:
    """The option of an axis in a point's overrides; empty if there is none."""
    values = [override.partition("=")[2] for override in point.overrides if override.startswith(f"{axis}=")]
    return values[-1] if values else ""


def _check_space(declared: ProtocolConfig, plain: Mapping[str, Any]) -> None:
    for key in declared.space:
        try:
            is_number = isinstance(get_value(plain, key), int | float)
        except KeyError:
            is_number = False
        if not is_number:
            raise UsageError(
                f"protocol.space.{key} is no number of a run's config: use lr, or as optimizer.weight_decay"
            )


def _check_halving(declared: ProtocolConfig, config: RunConfig) -> None:
    schedule, count = config.schedule, len(trials(declared))
    if not (str(schedule.get("_target_")).endswith(".ConstantLR") and schedule.get("factor") == 1):
        raise UsageError(
            "protocol.tuning=halving judges trials before their last epoch, which is sound only with a "
            "constant learning rate: use schedule=constant, or protocol.tuning=full"
        )
    if others := set(declared.space) - {"lr"}:
        raise UsageError(
            f"protocol.space.{min(others)}: protocol.tuning=halving judges trials by their training error "
            "before the last epoch, which is sound for lr alone: use protocol.tuning=full"
        )
    least = ETA ** (len(rungs(count, config.epochs, declared.tuning)) - 1)
    if config.epochs < least:
        raise UsageError(
            f"epochs={config.epochs}: protocol.tuning=halving of {count} trials needs at least {least}"
        )


def _follows(declared: ProtocolConfig, command: Command) -> list[dict[str, str]]:
    """For each point, the keys that interpolate a key which the protocol varies."""
    probes: dict[str, Any] = {**PROBES, **dict.fromkeys(declared.space, PROBE_OF_SPACE)}
    points = command.points
    probed = command.under([f"{key}={value}" for key, value in probes.items()]).points
    if len(probed) != len(points):
        raise UsageError(f"a comparison varies {', '.join(probes)} itself: give each of them a single value")
    return [
        _followers(dict(leaves(as_plain(point.config))), dict(leaves(as_plain(other.config))), probes)
        for point, other in zip(points, probed, strict=True)
    ]


def _followers(
    before: Mapping[str, Any], after: Mapping[str, Any], probes: Mapping[str, Any]
) -> dict[str, str]:
    """The differing keys, each with the probed key whose value it has on both sides."""
    follows = {}
    for key in sorted({*before, *after} - {*probes}):
        if before.get(key) != after.get(key):
            sources = [name for name, probe in probes.items() if after.get(key) == probe]
            if not sources or before.get(key) != before.get(sources[0]):
                raise UsageError(
                    f"{key} is computed from {' or '.join(probes)}, which a comparison varies: give a value"
                )
            follows[key] = sources[0]
    return follows


def _arm_labels(declared: ProtocolConfig, points: Sequence[Point], options: Sequence[str]) -> dict[str, str]:
    """The label of each option: its YAML's, or its name if there is none or two options share it."""
    labels = {}
    for point, option in zip(points, options, strict=True):
        node = vars(point.config).get(declared.arms)
        labels[option] = str(node.get("label", option)) if isinstance(node, Mapping) else option
    return labels if len(set(labels.values())) == len(labels) else {option: option for option in labels}


def _block_labels(declared: ProtocolConfig, points: Sequence[Point]) -> list[str]:
    """The label of each point's block: network and data set, plus other differing keys if needed."""
    labels = [f"{point.config.model.get('label')} on {point.config.dataset.get('label')}" for point in points]
    others = [
        tuple(override for override in point.overrides if not override.startswith(f"{declared.arms}="))
        for point in points
    ]
    if len({*zip(labels, others, strict=True)}) == len({*labels}):
        return labels
    differ = [place for place, values in enumerate(zip(*others, strict=True)) if len({*values}) > 1]
    return [
        f"{label} ({', '.join(other[place] for place in differ)})"
        for label, other in zip(labels, others, strict=True)
    ]


def _cell(
    declared: ProtocolConfig, point: Point, option: str, arm: str, block: str, follows: dict[str, str]
) -> Cell:
    from senet_lab.build import build_dataset, check_run  # imports torch

    network, _ = check_run(point.config)
    dataset = build_dataset(point.config.dataset)
    if dataset.validation_images == 0:
        raise UsageError(
            "dataset.validation=0: a comparison tunes on validation images: hold out some of the training "
            "images, as dataset.validation=0.2"
        )
    if declared.metric is ErrorMetric.top5 and dataset.num_classes <= 5:
        raise UsageError(f"protocol.metric=top5: {block} has {dataset.num_classes} classes in all")
    return Cell(
        block=block,
        arm=arm,
        option=option,
        directory=point.directory,
        overrides=list(point.overrides),
        plain=as_plain(point.config),
        follows=follows,
        images=dataset.train_images,
        validation_images=dataset.validation_images,
        classes=dataset.num_classes,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
    )
