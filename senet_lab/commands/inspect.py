"""`senet-lab inspect`: what a trained network does inside, as figures from a run's weights."""

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from senet_lab.compose import Command
from senet_lab.config import InspectConfig, Inspection, RunConfig
from senet_lab.errors import UsageError
from senet_lab.figures.style import PALETTE
from senet_lab.figures.write import check_formats, write_csv, write_drawings
from senet_lab.records.plan import config_hash
from senet_lab.records.run import RunDirectory

if TYPE_CHECKING:
    from senet_lab.figures.export import Drawing

Drawings = dict[str, "Drawing"]
LOW, HIGH = -6.0, 6.0
"""Ends of the x axis under an activation's shape."""
CHANNELS = 50
"""How many of a block's channels are drawn: as many as in the paper. The table has all."""


def inspect(command: Command, arguments: Sequence[str]) -> int:  # noqa: ARG001
    """Draw one kind of figures of a run into its folder `figures`.

    Returns:
        The exit code: 0, or 1 where a browser is there and could not render a figure.

    Raises:
        UsageError: no such run, no weights in it, a network that has not what the figure shows.
    """
    config: InspectConfig = command.config
    check_formats(config.formats)
    run = RunDirectory(Path(config.run))
    folder = run.figures
    drawings = KINDS[config.kind](run, config, folder)
    return 0 if write_drawings(drawings, folder, config.formats) else 1


def _trained(run: RunDirectory) -> tuple[RunConfig, Any, Any]:
    """The run's config, its network with the kept weights, and its data as batches."""
    import torch

    from senet_lab.build import build_augment, build_dataset, build_network
    from senet_lab.runs.checkpoint import CheckpointError, load_checkpoint

    config = run.config()
    if not run.checkpoint_file.exists():
        raise UsageError(f"{run.path} has no weights: train with checkpoint.keep=true to keep them")
    try:
        state = load_checkpoint(run, {config_hash(run.plain_config())})
    except CheckpointError as error:
        raise UsageError(str(error)) from error
    dataset = build_dataset(config.dataset)
    network = build_network(config, dataset.num_classes)
    network.load_state_dict(state["network"])
    batches = dataset.batches(build_augment(config.augment), config.batch_size, torch.device("cpu"))
    return config, network, batches


def _name(config: RunConfig) -> str:
    return f"{config.model['label']} with {config.activation['label']}"


def _excitations(run: RunDirectory, settings: InspectConfig, folder: Path) -> Drawings:
    """For each stage, the mean gates of its last SE block over some channels, for all classes and some."""
    from senet_lab.build import build_dataset
    from senet_lab.figures.charts import Words, draw_lines
    from senet_lab.figures.export import compile_chart
    from senet_lab.networks.inspection import excitations

    config, network, batches = _trained(run)
    num_classes = build_dataset(config.dataset).num_classes
    if not set(settings.classes) <= set(range(num_classes)):
        raise UsageError(f"classes={settings.classes}: classes are 0..{num_classes - 1}")
    blocks = excitations(network, batches.test(), num_classes)
    if not blocks:
        raise UsageError(f"{run.path}: the network has no squeeze-and-excitation to look at")
    tables = []
    for block, means in blocks.items():
        rows = {"all": means.nanmean(0)} | {f"class {number}": means[number] for number in range(num_classes)}
        for label, gates in rows.items():
            channels = range(len(gates))
            tables.append(
                pd.DataFrame({"block": block, "class": label, "channel": channels, "gate": gates.numpy()})
            )
    table = pd.concat(tables, ignore_index=True)
    write_csv(folder / "excitations.csv", table)
    last = {block.rpartition("stages.")[2].split(".")[0]: block for block in blocks}
    labels = [*(f"class {number}" for number in settings.classes), "all"]
    colors = dict(zip(labels, cycle(PALETTE[1:]))) | {"all": PALETTE[0]}
    table = table[table["class"].isin(labels)]
    parts = {stage: _even_channels(table[table["block"] == block]) for stage, block in last.items()}
    y_range = _around(pd.concat(parts.values())["gate"])  # of all stages, so that they can be compared
    drawings = {}
    for stage, block in last.items():
        drawn = parts[stage].drop(columns="block")
        shown, width = drawn["channel"].nunique(), blocks[block].shape[1]
        note = f"mean gate over the test images, {shown} of {width} channels"
        words = Words(f"{_name(config)}: excitations of {block}", note, "Channel", "Mean gate", "Mean gates")
        chart = draw_lines(drawn, "channel", "gate", "class", colors, words, y_range, dashed=["all"])
        drawings[f"excitations_stage{stage}"] = compile_chart(chart, [], drawn, words.caption)
    return drawings


def _feature_reuse(run: RunDirectory, settings: InspectConfig, folder: Path) -> Drawings:  # noqa: ARG001
    """A heat map for each dense block: which earlier layers a layer uses."""
    from senet_lab.figures.charts import Words, draw_heatmap
    from senet_lab.figures.export import compile_chart
    from senet_lab.networks.densenet import DenseNet
    from senet_lab.networks.inspection import feature_reuse

    config, network, _ = _trained(run)
    if not isinstance(network, DenseNet):
        raise UsageError(f"{run.path}: feature_reuse is for DenseNet, not {config.model['name']}")
    drawings, tables = {}, []
    for number, use in enumerate(feature_reuse(network), start=1):
        targets = use.shape[1]
        names = [*(f"{layer:02d}" for layer in range(1, targets)), "out"]
        table = pd.DataFrame(
            [
                {"block": number, "source": f"{source:02d}", "target": names[target], "weight": weight}
                for target in range(targets)
                for source, weight in enumerate(use[: target + 1, target].tolist())
            ]
        )
        tables.append(table)
        words = Words(
            f"{_name(config)}: feature reuse in dense block {number}",
            "mean absolute weight from a source layer (0: the block's input) to a target layer",
            "Target layer",
            "Source layer",
            "Mean absolute weights",
        )
        shown = table.drop(columns="block")
        chart = draw_heatmap(shown, "target", "source", "weight", words)
        drawings[f"feature_reuse_block{number}"] = compile_chart(chart, [], shown, words.caption)
    write_csv(folder / "feature_reuse.csv", pd.concat(tables, ignore_index=True))
    return drawings


def _activation_shapes(run: RunDirectory, settings: InspectConfig, folder: Path) -> Drawings:  # noqa: ARG001
    """What the learned activation became: over the sites at the last epoch, and over the epochs."""
    import torch
    from torch.nn import functional as F

    from senet_lab.build import build_act_layer
    from senet_lab.figures.charts import Words, draw_lines
    from senet_lab.figures.export import compile_chart

    config, learned = run.config(), run.activations()
    if learned.empty:
        raise UsageError(f"{run.path}: its activation learns nothing; use activation=tact or mtact")
    x = torch.linspace(LOW, HIGH, 241)

    def shape(label: str, alpha: float, beta: float) -> pd.DataFrame:
        node = config.activation | {"alpha": alpha, "beta": beta, "per_channel": False}
        with torch.no_grad():
            y = build_act_layer(node, 0)(1)(x[:, None])[:, 0]
        return pd.DataFrame({"curve": label, "x": x.numpy(), "y": y.numpy(), "alpha": alpha, "beta": beta})

    known = {"sigmoid": torch.sigmoid(x), "SiLU": F.silu(x), "ReLU": F.relu(x)}
    against = [pd.DataFrame({"curve": label, "x": x.numpy(), "y": y.numpy()}) for label, y in known.items()]
    last = learned[learned["epoch"] == learned["epoch"].max()]
    sites = [shape(str(row.site), float(row.alpha), float(row.beta)) for row in _spread(last).itertuples()]
    means = learned.groupby("epoch")[["alpha", "beta"]].mean().reset_index()
    epochs = [
        shape(f"epoch {int(row.epoch)}", float(row.alpha), float(row.beta))
        for row in _spread(means).itertuples()
    ]
    drawings = {}
    for name, title, parts in (
        ("sites", "the learned activation at its sites, last epoch", sites),
        ("epochs", "the learned activation over the epochs, mean of all sites", epochs),
    ):
        table = pd.concat([*against, *parts], ignore_index=True)
        write_csv(folder / f"activation_shapes_{name}.csv", table)
        colors = dict(zip(known, ("#000000", "#0072B2", "#E69F00"), strict=True))
        colors |= {part["curve"][0]: _shade(i, len(parts)) for i, part in enumerate(parts)}
        words = Words(
            f"{_name(config)}: {title}", "against sigmoid, SiLU and ReLU", "Input x", "Output y", "Points"
        )
        learned_range = _around(pd.concat([against[0], *parts])["y"])  # ReLU may leave it
        chart = draw_lines(table, "x", "y", "curve", colors, words, learned_range, dashed=known)
        drawings[f"activation_shapes_{name}"] = compile_chart(chart, [], table, words.caption)
    return drawings


def _class_activation_map(run: RunDirectory, settings: InspectConfig, folder: Path) -> Drawings:  # noqa: ARG001
    """Chosen test images, each beside itself under the map of its predicted class."""
    import torch
    from torch.nn import functional as F

    from senet_lab.figures.charts import Words, draw_pictures
    from senet_lab.figures.export import compile_chart
    from senet_lab.networks.inspection import class_activation_maps

    config, network, batches = _trained(run)
    if not settings.images or not set(settings.images) <= set(range(batches.test_images)):
        raise UsageError(f"images={settings.images}: test images are 0..{batches.test_images - 1}")
    images, labels = (torch.cat(parts) for parts in zip(*batches.test(), strict=True))
    chosen, truth = images[settings.images], labels[settings.images]
    maps, predicted = class_activation_maps(network, chosen)
    if maps[0].numel() == 1:
        raise UsageError(
            f"{run.path}: its last feature map has one place only, so there is nothing to tell apart; "
            "train on larger images"
        )
    maps = F.interpolate(maps[:, None], chosen.shape[-1], mode="bilinear")[:, 0]
    rows = []
    for number, image, heat, one, other in zip(
        settings.images, chosen, maps, truth.tolist(), predicted.tolist(), strict=True
    ):
        picture = _stretch(image).permute(1, 2, 0).numpy()
        red = np.stack([_stretch(heat).numpy(), np.zeros(heat.shape), np.zeros(heat.shape)], axis=2)
        over = [(255 * part).astype(np.uint8) for part in (picture, 0.4 * picture + 0.6 * red)]
        rows.append((f"image {number}: class {one}, predicted {other}", over))
    words = Words(
        f"{_name(config)}: class activation maps",
        "test image, and red where the evidence for the predicted class lies",
        "",
        "",
        "Images",
    )
    labels = pd.DataFrame({"image": [label for label, _ in rows]})
    return {"class_activation_map": compile_chart(draw_pictures(rows, words), [], labels, words.caption)}


KINDS: dict[Inspection, Callable[[RunDirectory, InspectConfig, Path], Drawings]] = {
    Inspection.excitations: _excitations,
    Inspection.feature_reuse: _feature_reuse,
    Inspection.activation_shapes: _activation_shapes,
    Inspection.class_activation_map: _class_activation_map,
}


def _spread(table: pd.DataFrame, most: int = 8) -> pd.DataFrame:
    """At most `most` rows, evenly from the first to the last."""
    places = np.unique(np.linspace(0, len(table) - 1, most).round().astype(int))
    return table.iloc[places]


def _even_channels(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of at most `CHANNELS` channels, evenly from the first to the last."""
    channels = table["channel"].max() + 1
    drawn = np.linspace(0, channels - 1, min(channels, CHANNELS)).round().astype(int)
    return table[table["channel"].isin(drawn)]


def _around(values: pd.Series) -> tuple[float, float]:
    """The range of `values` and a twentieth on either side."""
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _shade(place: int, count: int) -> str:
    """From light to dark purple."""
    share = place / max(1, count - 1)
    light, dark = (206, 147, 216), (74, 20, 140)
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in zip(light, dark, strict=True))


def _stretch(values: Any) -> Any:
    """Values to 0..1; what is the same everywhere but for rounding is 0."""
    low, high = values.min(), values.max()
    rounding = 1e-5 * max(abs(low), abs(high))
    return (values - low) / (high - low) if high - low > rounding else values * 0
