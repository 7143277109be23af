"""`senet-lab inspect`: look inside networks and activations, with figures and tables."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from senet_lab.commands.whole import tell_left_out
from senet_lab.composition.command import Command
from senet_lab.config import InspectConfig, Inspection, RunConfig
from senet_lab.errors import UsageError
from senet_lab.figures.write import check_formats, write_csv, write_drawings
from senet_lab.files import is_there
from senet_lab.records.plan import NOT_RESULTS, config_hash
from senet_lab.records.rows import MEASURES
from senet_lab.records.run import UNUSABLE, RunDirectory, State, Status, run_directories
from senet_lab.records.survey import readable_status
from senet_lab.text import counted, label

if TYPE_CHECKING:
    from senet_lab.figures.export import Drawing
    from senet_lab.figures.inspections import Map

SHAPE_X = np.linspace(-6, 6, 241)
"""Points at which learned shapes are evaluated."""
GALLERY_X = np.linspace(-4, 4, 201)
"""Points at which the gallery is evaluated."""
GALLERY_FOLDER = Path("outputs/activations")
AT_THE_START, TRAINED = "at the start", "trained"
"""Labels of the weights in `pre_activations`."""
STATISTICS_IMAGES = 2000
"""Training images for `landscape`'s batch norm statistics."""
PLACES = np.linspace(-0.25, 1.25, 13).tolist()
"""Points of `landscape`: the first run's weights are at 0, the second's at 1."""
NOISE_SEED = 0
DEPTH_FIELDS = ("seed", "model", "se", "scaling")
"""Fields of a run's config in which runs of a line of `depth` may differ."""


@dataclass(frozen=True)
class Found:
    """The results of an inspection, by file name."""

    folder: Path
    """Default output folder."""
    tables: dict[str, pd.DataFrame]
    drawings: "dict[str, Drawing]"
    left_out: Mapping[str, Status] = field(default_factory=dict)
    """Statuses of the runs whose record cannot be used, by path."""


@dataclass(frozen=True)
class Lines:
    """The runs in or below a folder."""

    folder: Path
    """Default output folder."""
    runs: dict[str, list[RunDirectory]]
    """The usable ones, by line."""
    left_out: dict[str, Status]
    """See `Found`."""


@dataclass(frozen=True)
class Trained:
    """A run with its trained weights."""

    config: RunConfig
    weights: dict[str, Any]
    network: Any
    """The network with trained weights."""
    batches: Any
    num_classes: int

    @property
    def name(self) -> str:
        """The run's name in titles."""
        return _name(self.config)


def inspect(command: Command) -> int:
    """Run one inspection; writes to `figures` in the run's or runs' folder, or to `folder`.

    Returns:
        The exit code: 0, or 1 if a run was left out or the browser failed to render a figure.

    Raises:
        UsageError: no such run; a damaged one; no weights in it; a network without the inspected part.
    """
    config: InspectConfig = command.config
    check_formats(config.formats)
    found = KINDS[config.kind](config)
    folder = found.folder if config.folder is None else Path(config.folder)
    # Below a folder of the user's own, links are the user's own, too.
    root = folder.parent if config.run and config.folder is None else None
    for name, table in found.tables.items():
        write_csv(folder / f"{name}.csv", table, root)
    drawn = write_drawings(found.drawings, folder, config.formats, root)
    is_complete = tell_left_out(found.left_out, "senet-lab verify name=…")
    return 0 if drawn and is_complete else 1


def _name(config: RunConfig) -> str:
    """A run's name in titles."""
    return label(f"{config.model['label']} with {config.activation['label']}")


def _run(config: InspectConfig) -> RunDirectory:
    """The run that `run=` names, or the folder above several.

    Raises:
        UsageError: none is named, or its record cannot be used.
    """
    if config.run is None:
        raise UsageError(f"kind={config.kind} needs run=<a run directory>, such as outputs/…/seed=0")
    run = RunDirectory(Path(config.run))
    status = readable_status(run)
    if status.state in UNUSABLE:
        raise UsageError(f"{run.path} is {status.state}: {status.error}")
    return run


def _lines(config: InspectConfig, apart: Sequence[str] = ("seed",)) -> Lines:
    """The runs in or below the folder `run=`; runs of a line differ in the fields `apart`."""
    folder = _run(config)
    statuses = [(run, readable_status(run)) for run in run_directories(folder.path)]
    runs = [run for run, status in statuses if status.state not in UNUSABLE]
    others = {str(run.path): status for run, status in statuses if status.state in UNUSABLE}
    if not runs and others:
        raise UsageError(
            f"run={folder.path}: no whole record; unreadable or damaged: {counted(len(others), 'run')}"
        )
    if not runs:
        raise UsageError(f"run={folder.path} is no run directory, and none is below it")
    groups: dict[str, list[RunDirectory]] = {}
    for run in runs:
        plain = {key: value for key, value in run.plain_config().items() if key not in (*apart, *NOT_RESULTS)}
        groups.setdefault(json.dumps(plain, sort_keys=True), []).append(run)
    lines = [sorted(group, key=lambda run: run.config().seed) for group in groups.values()]
    labels = [label(group[0].config().activation["label"]) for group in lines]
    if len(set(labels)) < len(labels):
        labels = [label(group[0].path.parent.relative_to(folder.path.parent).as_posix()) for group in lines]
    return Lines(folder.figures, dict(zip(labels, lines, strict=True)), others)


def _trained(run: RunDirectory) -> Trained:
    import torch

    from senet_lab.build import build_augment, build_dataset, build_network
    from senet_lab.runs.checkpoint import CheckpointError, load_checkpoint, require_weights

    config = run.config()
    if not is_there(run.checkpoint_file):
        raise UsageError(f"{run.path} has no weights: train with checkpoint.keep=true to keep them")
    dataset = build_dataset(config.dataset)
    network = build_network(config, dataset.num_classes)
    try:
        content = load_checkpoint(run, {config_hash(run.plain_config())})
        require_weights(run, content, network.state_dict())
    except CheckpointError as error:
        raise UsageError(str(error)) from error
    weights = content["network"]
    network.load_state_dict(weights)
    batches = dataset.batches(build_augment(config.augment), config.batch_size, torch.device("cpu"))
    return Trained(config, weights, network, batches, dataset.num_classes)


def _some(batches: Iterable[Any], count: int, batch_size: int) -> list[Any]:
    """The first batches, at least `count` images in total if there are as many."""
    return list(islice(batches, -(-count // batch_size)))


def _activations(_: InspectConfig) -> Found:
    """All options of `activation=` at their initial values."""
    from senet_lab.build import build_act_layer
    from senet_lab.figures.inspections import Portrait, draw_gallery
    from senet_lab.networks.gallery import gallery

    tables, portraits = [], []
    for one in gallery(GALLERY_X, build_act_layer):
        table = pd.DataFrame({"x": GALLERY_X, "y": one.y, "slope": one.slope})
        tables.append(table.assign(activation=one.name))
        portraits.append(Portrait(one.name, one.label, one.formula, one.source, one.learned, table))
    found = pd.concat(tables, ignore_index=True)[["activation", "x", "y", "slope"]]
    return Found(GALLERY_FOLDER, {"activations": found}, {"activations": draw_gallery(portraits)})


def _excitations(config: InspectConfig) -> Found:
    """Mean gates of each stage's last SE block, over some channels, for all classes and for chosen ones."""
    from senet_lab.figures.inspections import draw_excitations
    from senet_lab.networks.inspection import excitations

    run = _run(config)
    trained = _trained(run)
    if not set(config.classes) <= set(range(trained.num_classes)):
        raise UsageError(f"classes={config.classes}: classes are 0..{trained.num_classes - 1}")
    table = pd.DataFrame(excitations(trained.network, trained.batches.test(), trained.num_classes))
    if table.empty:
        raise UsageError(f"{run.path}: the network has no squeeze-and-excitation")
    drawings = draw_excitations(trained.name, table, config.classes)
    return Found(run.figures, {"excitations": table}, drawings)


def _feature_reuse(config: InspectConfig) -> Found:
    """A heat map per dense block of the weights between its layers."""
    from senet_lab.figures.inspections import draw_feature_reuse
    from senet_lab.networks.densenet import DenseNet
    from senet_lab.networks.inspection import feature_reuse

    run = _run(config)
    trained = _trained(run)
    if not isinstance(trained.network, DenseNet):
        raise UsageError(f"{run.path}: feature_reuse is for DenseNet, not {trained.config.model['name']}")
    table = pd.DataFrame(feature_reuse(trained.network))
    return Found(run.figures, {"feature_reuse": table}, draw_feature_reuse(trained.name, table))


def _activation_shapes(config: InspectConfig) -> Found:
    """Shapes of the learned activation: by site at the last epoch, and by epoch."""
    import torch
    from torch.nn import functional as F

    from senet_lab.build import build_act_layer
    from senet_lab.figures.inspections import KNOWN, draw_shapes
    from senet_lab.networks.inspection import shapes

    run = _run(config)
    settings, learned = run.config(), run.activations()
    if learned.empty:
        raise UsageError(f"{run.path}: its activation learns nothing; docs/activations.md lists which do")
    name = _name(settings)
    x = torch.from_numpy(SHAPE_X)
    values = zip(KNOWN, (torch.sigmoid(x), F.silu(x), F.relu(x)), strict=True)
    known = pd.concat([pd.DataFrame({"curve": curve, "x": SHAPE_X, "y": y.numpy()}) for curve, y in values])
    last = learned[learned["epoch"] == learned["epoch"].max()]
    sites = last.assign(curve=last["site"].str.replace(r"\[\d+\]$", "", regex=True))  # channels of one site
    epochs = learned.assign(curve="epoch " + learned["epoch"].astype(str))
    tables, drawings = {}, {}
    for what, title, rows in (
        ("sites", "the learned activation at its sites, last epoch", sites),
        ("epochs", "the learned activation by epoch, mean of sites", epochs),
    ):
        values = rows.groupby(["curve", "coefficient"], sort=False)["value"].mean()  # of channels and sites
        found = {curve: part.droplevel("curve") for curve, part in values.groupby("curve", sort=False)}
        table = pd.DataFrame(shapes(build_act_layer(settings.activation, settings.seed), found, SHAPE_X))
        tables[f"activation_shapes_{what}"] = pd.concat([known, table], ignore_index=True)
        drawings[f"activation_shapes_{what}"] = draw_shapes(name, title, known, table)
    return Found(run.figures, tables, drawings)


def _class_activation_map(config: InspectConfig) -> Found:
    """Chosen test images, without and with the map of the predicted class, for one network or several."""
    from senet_lab.figures.inspections import draw_maps

    lines = _lines(config)
    found = {line: _maps(runs[0], config.images) for line, runs in lines.runs.items()}
    tables = [table.assign(line=line) for line, (table, _) in found.items()]
    classes = tables[0]["class"]
    if not all(table["class"].equals(classes) for table in tables):
        raise UsageError(f"run={config.run}: its runs have different test images, or in different order")
    several = len(found) > 1
    labels = [
        f"image {number}: class {one}" + ("" if several else f", predicted {predicted}")
        for number, one, predicted in zip(config.images, classes, tables[0]["predicted"], strict=True)
    ]
    rows = list(zip(labels, zip(*(maps for _, maps in found.values()), strict=True), strict=True))
    name = f"{len(found)} networks" if several else _name(next(iter(lines.runs.values()))[0].config())
    table = pd.concat(tables, ignore_index=True)[["line", "image", "class", "predicted"]]
    drawing = draw_maps(name, rows, list(found) if several else ())
    drawings = {"class_activation_map": drawing}
    return Found(lines.folder, {"class_activation_map": table}, drawings, lines.left_out)


def _maps(run: RunDirectory, chosen: Sequence[int]) -> "tuple[pd.DataFrame, list[Map]]":
    """Columns `image`, `class` and `predicted` of the chosen test images, and their maps."""
    import torch
    from torch.nn import functional as F

    from senet_lab.networks.inspection import class_activation_maps

    trained = _trained(run)
    count = trained.batches.test_images
    if not chosen or not set(chosen) <= set(range(count)):
        raise UsageError(f"images={list(chosen)}: test images are 0..{count - 1}")
    images, labels = (torch.cat(parts)[chosen] for parts in zip(*trained.batches.test(), strict=True))
    maps, predicted = class_activation_maps(trained.network, images)
    if maps[0].numel() == 1:
        raise UsageError(
            f"{run.path}: its last feature map has only one pixel, so a map shows nothing; train on larger "
            "images"
        )
    maps = F.interpolate(maps[:, None], images.shape[-1], mode="bilinear")[:, 0]
    table = pd.DataFrame({"image": chosen, "class": labels.tolist(), "predicted": predicted.tolist()})
    return table, [
        (_stretch(image).permute(1, 2, 0).numpy(), _stretch(heat).numpy())
        for image, heat in zip(images, maps, strict=True)
    ]


def _pre_activations(config: InspectConfig) -> Found:
    """Pre-activations and dead channels of each site, before and after training; over epochs if recorded."""
    from senet_lab.figures.inspections import draw_signals, draw_signals_over_epochs

    run = _run(config)
    name, recorded = _name(run.config()), run.pre_activations()
    if recorded.empty:
        ends = _signals_at_both_ends(run)
        print("first and last weights only: a run with pre_activations=true, under another name=, has all")
        return Found(run.figures, {"pre_activations": ends}, draw_signals(name, ends))
    depths = {site: depth for depth, site in enumerate(recorded["site"].unique(), start=1)}
    rows = recorded.assign(depth=recorded["site"].map(depths))
    keys = ["epoch", "depth", "site"]
    once = rows.drop_duplicates([*keys, "measure"], keep="last")
    table = once.pivot(index=keys, columns="measure", values="value").reindex(columns=MEASURES).reset_index()
    last = table["epoch"].max()
    weights = table["epoch"].map({last: TRAINED, 0: AT_THE_START})
    ends = table.assign(weights=weights).dropna(subset="weights")
    drawings = draw_signals(name, ends) | draw_signals_over_epochs(name, table)
    return Found(run.figures, {"pre_activations": table}, drawings)


def _signals_at_both_ends(run: RunDirectory) -> pd.DataFrame:
    """The table of `signals` for the initial and the trained weights, which the column `weights` names."""
    from senet_lab.build import build_network
    from senet_lab.data.batches import first_images
    from senet_lab.networks.signals import SIGNAL_IMAGES, signals

    if not run.checkpoint_file.exists():
        raise UsageError(
            f"{run.path} has neither distributions nor weights: train with pre_activations=true, under "
            "another name="
        )
    trained = _trained(run)
    images = list(first_images(trained.batches.test(), SIGNAL_IMAGES))
    start = build_network(trained.config, trained.num_classes)
    parts = [
        pd.DataFrame(signals(network, images)).assign(weights=weights)
        for weights, network in ((AT_THE_START, start), (TRAINED, trained.network))
    ]
    return pd.concat(parts, ignore_index=True)


def _noise(config: InspectConfig) -> Found:
    """The error of all runs on test images with increasing noise."""
    from senet_lab.figures.inspections import draw_noise
    from senet_lab.networks.inspection import noisy_errors

    if not config.levels or min(config.levels) < 0:
        raise UsageError(f"levels={config.levels}: standard deviations of the noise, 0 or more each")
    parts = []
    lines = _lines(config)
    for line, runs in lines.runs.items():
        for run in runs:
            trained = _trained(run)
            errors = noisy_errors(trained.network, trained.batches.test, config.levels, NOISE_SEED)
            parts.append(pd.DataFrame(errors).assign(line=line, run=run.path.as_posix()))
    table = pd.concat(parts, ignore_index=True)
    return Found(lines.folder, {"noise": table}, {"noise": draw_noise(table)}, lines.left_out)


def _depth(config: InspectConfig) -> Found:
    """The last error of all finished runs against the number of their network's activation sites."""
    from senet_lab.commands.summary import describe
    from senet_lab.figures.inspections import draw_depth

    sites: dict[str, int] = {}
    rows = []
    lines = _lines(config, DEPTH_FIELDS)
    for line, runs in lines.runs.items():
        for run in runs:
            if run.status().state is not State.FINISHED:
                continue
            settings = run.config()
            network = json.dumps([run.plain_config().get(key) for key in DEPTH_FIELDS if key != "seed"])
            if network not in sites:
                sites[network] = describe(settings)["activation_sites"]
            error = 1 - run.metrics()["test_top1"].iloc[-1]
            rows.append({"line": line, "run": run.path.as_posix(), "depth": sites[network], "error": error})
    if len({row["depth"] for row in rows}) < 2:
        raise UsageError(
            f"run={config.run}: depth needs finished runs of several depths below it, as of "
            "senet-lab train -m model=resnet18 scaling.depth=1,2,3"
        )
    table = pd.DataFrame(rows).sort_values("depth", kind="stable", ignore_index=True)
    return Found(lines.folder, {"depth": table}, {"depth": draw_depth(table)}, lines.left_out)


def _landscape(config: InspectConfig) -> Found:
    """Loss and error on the straight line between the weights of two seeds."""
    from senet_lab.figures.inspections import draw_landscape
    from senet_lab.networks.inspection import between
    from senet_lab.seeding import Stream, generator

    parts = []
    lines = _lines(config)
    for line, runs in lines.runs.items():
        if len(runs) < 2:
            continue
        first, second = (_trained(run) for run in runs[:2])
        size, seed = first.config.batch_size, first.config.seed

        def train(data: Any = first.batches, size: int = size, seed: int = seed) -> list[Any]:
            return _some(data.train(generator(seed, Stream.EPOCH)), STATISTICS_IMAGES, size)

        rows = between(first.network, first.weights, second.weights, PLACES, train, first.batches.test)
        name = f"{line}, seeds {seed} and {second.config.seed}"
        parts.append(pd.DataFrame(rows).assign(line=name))
    if not parts:
        raise UsageError(f"run={config.run}: landscape needs two runs below it that differ only in the seed")
    table = pd.concat(parts, ignore_index=True)
    return Found(lines.folder, {"landscape": table}, draw_landscape(table), lines.left_out)


KINDS: dict[Inspection, Callable[[InspectConfig], Found]] = {
    Inspection.activations: _activations,
    Inspection.excitations: _excitations,
    Inspection.feature_reuse: _feature_reuse,
    Inspection.activation_shapes: _activation_shapes,
    Inspection.class_activation_map: _class_activation_map,
    Inspection.pre_activations: _pre_activations,
    Inspection.noise: _noise,
    Inspection.depth: _depth,
    Inspection.landscape: _landscape,
}


def _stretch(values: Any) -> Any:
    """Scale values to 0..1; constant ones, up to rounding, become 0."""
    low, high = values.min(), values.max()
    rounding = 1e-5 * max(abs(low), abs(high))
    return (values - low) / (high - low) if high - low > rounding else values * 0
