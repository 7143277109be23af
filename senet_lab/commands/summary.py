"""`senet-lab summary`: list parameters, multiply-accumulates and activation sites of a network."""

import json
from dataclasses import asdict
from typing import Any

from senet_lab.commands.terminal import print_table
from senet_lab.composition.command import Command
from senet_lab.config import Format, RunConfig
from senet_lab.errors import UsageError
from senet_lab.text import counted, plain


def summary(command: Command) -> int:
    """Print the summary of one run's network.

    Raises:
        UsageError: a sweep, or a config that cannot be built.
    """
    if len(command.points) != 1:
        raise UsageError("summary takes one network: leave out -m and experiment=")
    config = command.config
    result = describe(command.points[0].config, config.num_classes, config.image_size, config.norms)
    if command.config.format is Format.json:
        for key in ("layers", "operations"):
            if not getattr(command.config, key):
                del result[key]
        print(json.dumps(result, indent=2))
    else:
        _print(result, command.config.layers, command.config.operations)
    return 0


def describe(
    config: RunConfig,
    num_classes: int | None = None,
    image_size: int | None = None,
    norms: bool = True,
) -> dict[str, Any]:
    """The content of the summary; the data set is read only for values that are not given.

    Args:
        config: a run's config.
        num_classes: number of logits.
        image_size: pixels a side.
        norms: count scale and shift of norms among the parameters.
    """
    import torch

    from senet_lab.build import build_augment, build_dataset, build_network
    from senet_lab.networks.scaling import scaling_cost
    from senet_lab.networks.summary import ActivationProbes, operations, summarise

    dataset = build_dataset(config.dataset)
    num_classes = num_classes or dataset.num_classes
    image_size = image_size or build_augment(config.augment).output_size(dataset.image_size)
    probes = ActivationProbes()
    with torch.device("meta"):
        network = build_network(config, num_classes)
        probed = build_network(config, num_classes, act_layer=probes)
    counts = summarise(network, image_size, norms)
    scaling = config.scaling
    summarise(probed, image_size)
    return {
        "model": config.model["name"],
        "activation": config.activation["name"],
        "num_classes": num_classes,
        "image_size": image_size,
        "parameters": counts.parameters,
        "macs": counts.macs,
        "activation_sites": probes.sites,
        "activation_instances": probes.instances,
        "scaling_cost": scaling_cost(scaling.alpha, scaling.beta, scaling.gamma) if scaling.phi else None,
        "reference": config.model.get("reference"),
        "operations": [asdict(operation) for operation in operations(counts.layers)],
        "layers": [asdict(layer) for layer in counts.layers],
    }


def _print(result: dict[str, Any], layers: bool, operations: bool) -> None:
    if operations:
        rows = [
            (row["name"], row["repeat"], _shape(row), f"{row['macs']:,}", f"{row['parameters']:,}")
            for row in result["operations"]
        ]
        headings = ("operation", "repeat", "output", "multiply-accumulates", "parameters")
        print_table(headings, rows, has_lines=False)
    if layers:
        rows = [
            (row["name"], row["type"], _shape(row), f"{row['parameters']:,}", f"{row['macs']:,}")
            for row in result["layers"]
        ]
        headings = ("layer", "class", "output", "parameters", "multiply-accumulates")
        print_table(headings, rows, has_lines=False)
    print(plain(f"{result['model']} with {result['activation']}"))
    print(f"  classes               {result['num_classes']}")
    print(f"  image                 3×{result['image_size']}×{result['image_size']}")
    print(f"  parameters            {result['parameters']:,}")
    print(f"  multiply-accumulates  {result['macs']:,}")
    print(
        f"  activation sites      {result['activation_sites']} "
        f"({counted(result['activation_instances'], 'instance')})"
    )
    if result["scaling_cost"]:
        print(f"  compound scaling      α·β²·γ² = {result['scaling_cost']:.2f}; the paper keeps it near 2")
    if result["reference"]:
        known = [(key, value) for key, value in result["reference"].items() if value is not None]
        facts = ", ".join(
            f"{key} {f'{value:,}' if isinstance(value, int) else value}" for key, value in known
        )
        print(plain(f"  published             {facts}"))


def _shape(row: dict[str, Any]) -> str:
    return "×".join(map(str, row["output"]))
