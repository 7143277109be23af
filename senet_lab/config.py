"""The typed schema of every config: names, types, ranges and defaults.

Hydra composes YAML into these classes; `OmegaConf.to_object` runs the range checks in `__post_init__`.
A node that becomes an object (`model`, `activation`, …) stays a plain mapping with `_target_`: its keys are
the constructor's arguments, checked by `build.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import msgspec

from senet_lab.errors import UsageError
from senet_lab.files import typed

MISSING: Any = "???"
"""OmegaConf's mark of a required value; spelt out because importing OmegaConf is slow."""

Node = dict[str, Any]
"""A config node that becomes an object: `_target_`, constructor arguments, `name` and `label`."""


class Precision(StrEnum):
    """Number format of the forward and backward pass; weights are float32 in each."""

    auto = "auto"
    float32 = "float32"
    tf32 = "tf32"
    bfloat16 = "bfloat16"


class Init(StrEnum):
    """The initialisation of convolutions."""

    default = "default"
    """PyTorch's default."""
    he = "he"


class WhenTested(StrEnum):
    """The epochs after which the test images are evaluated."""

    each_epoch = "each_epoch"
    end = "end"
    """Once, after the last epoch."""
    never = "never"
    """Never, for a comparison's tuning, which uses validation images."""


class PlanMode(StrEnum):
    """The treatment of runs that are not in an existing plan."""

    keep = "keep"
    extend = "extend"
    new = "new"


class Band(StrEnum):
    """The band around a mean curve: sample standard deviation, standard error, or nothing."""

    std = "std"
    sem = "sem"
    none = "none"


class Family(StrEnum):
    """The family of comparisons over which Holm's correction is applied."""

    baseline = "baseline"
    """Each arm against the baseline."""
    pairs = "pairs"
    """Every two arms."""


class Sampling(StrEnum):
    """The placement of a comparison's tuning trials in their space, on a logarithmic scale."""

    grid = "grid"
    """At equal distances, the bounds included."""
    quasi_random = "quasi_random"
    """Halton's sequence: Halton, Numer. Math. 2 (1960)."""


class Tuning(StrEnum):
    """The number of epochs of each tuning trial."""

    full = "full"
    """To the last epoch."""
    halving = "halving"
    """Successive halving: by training error, the best third of each rung, at least two trials, trains three
    times as many epochs. After Jamieson and Talwalkar, arXiv 1502.07943."""


class ErrorMetric(StrEnum):
    """The compared error: 1 − accuracy after the last epoch."""

    top1 = "top1"
    top5 = "top5"


class Format(StrEnum):
    """The output format of a table."""

    table = "table"
    json = "json"


LARGEST = 10_000_000
"""Epochs of a run, images of a batch and the like: more are a mistake."""


def _require(holds: bool, key: str, value: object, right: str) -> None:
    if not holds:
        raise UsageError(f"{key}={value}: {key} must be {right}")


def _require_count(key: str, value: int) -> None:
    _require(value >= 1, key, value, "an integer of 1 or more")
    _require(value <= LARGEST, key, value, f"an integer of {LARGEST:,} at most")


@dataclass
class TrainerConfig:
    """Device and execution of the training steps."""

    device: str = "auto"
    """`auto` (CUDA where there is one, else CPU), `cpu`, `cuda` or `cuda:<n>`."""
    precision: Precision = Precision.auto
    deterministic: bool = False
    """On CUDA: bitwise repeatable kernels. CPU runs always are."""
    compile: bool = False
    """Forward pass and loss through `torch.compile`, which takes a minute or two at first. On a GPU it gains
    up to a third of a step (docs/results/gpu_h200.md); on a CPU, in float32, 20 to 30 % with Mish or TAct at
    32×32 pixels, and nothing with ReLU or on smaller images (docs/performance.md)."""
    cuda_graph: bool = True
    """On CUDA: replay each training step as one graph. `false` for a network of one's own whose forward pass
    reads values back from the device, which no graph can capture, and to measure what the graph gains."""


@dataclass
class ScalingConfig:
    """Compound scaling of network and image, arXiv 1905.11946: factors α^φ, β^φ and γ^φ."""

    phi: float = 0.0
    """The exponent φ of α, β and γ."""
    alpha: float = 1.2
    """The base α of the depth's factor."""
    beta: float = 1.1
    """The base β of the width's factor."""
    gamma: float = 1.15
    """The base γ of the resolution's factor."""
    depth: float = 1.0
    """Factor of the units of each stage."""
    width: float = 1.0
    """Factor of all channels."""
    resolution: float = 1.0
    """Factor of the image size."""

    def __post_init__(self) -> None:
        for key in ("alpha", "beta", "gamma", "depth", "width", "resolution"):
            value = getattr(self, key)
            _require(math.isfinite(value) and value > 0, f"scaling.{key}", value, "a finite number above 0")


@dataclass
class CheckpointConfig:
    """The checkpoints from which interrupted runs resume."""

    every: int = 1
    """Epochs between checkpoints."""
    min_seconds: float = 30.0
    """Minimal seconds between checkpoints: short runs are cheaper to repeat than to save."""
    keep: bool = False
    """Keep the weights of a finished run."""
    strict: bool = False
    """Refuse to resume with another torch version, kind of device or precision, instead of noting it."""

    def __post_init__(self) -> None:
        _require_count("checkpoint.every", self.every)
        _require(
            math.isfinite(self.min_seconds) and self.min_seconds >= 0,
            "checkpoint.min_seconds",
            self.min_seconds,
            "a number of seconds, 0 or more",
        )


@dataclass
class RunConfig:
    """One run: exactly the values that its results depend on."""

    model: Node = MISSING
    """The network."""
    activation: Node = MISSING
    """The activation under test."""
    se: Node = MISSING
    """Squeeze-and-excitation, for networks that support it."""
    dataset: Node = MISSING
    """Images and their classes."""
    augment: Node = MISSING
    """Augmentation of training images, and normalisation of all images."""
    optimizer: Node = MISSING
    """The optimizer."""
    schedule: Node = MISSING
    """The learning rate over epochs."""
    lr: float = MISSING
    """Learning rate of the optimizer, before any schedule."""
    seed: int = MISSING
    """Seed of initialisation, order and augmentation."""
    epochs: int = MISSING
    """Passes over the training images."""
    batch_size: int = MISSING
    """Images per optimizer step."""
    accumulate: int = 1
    """Gradient accumulation: micro-batches per batch."""
    label_smoothing: float = 0.0
    """Share of each training label that is spread evenly over all classes."""
    clip_grad: float = 0.0
    """Largest norm of a step's gradient over all parameters; 0: not clipped."""
    ema: float = 0.0
    """Decay of a moving average of the weights, evaluated as well; 0: none."""
    init: Init = Init.default
    test: WhenTested = WhenTested.each_epoch
    """Evaluation on the test images: after every epoch, after the last one, or never."""
    pre_activations: bool = False
    """Record the distribution of the pre-activations and the dead channels of each activation site before
    training and after every epoch, for `inspect kind=pre_activations`: one more pass over 500 test images.
    Results do not depend on it."""
    scaling: ScalingConfig = field(default_factory=ScalingConfig)
    """Compound scaling, for networks that support it."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """Device, number format, compilation."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """When checkpoints are written; results do not depend on it."""

    def __post_init__(self) -> None:
        _require(math.isfinite(self.lr) and self.lr > 0, "lr", self.lr, "a finite number above 0")
        _require(0 <= self.seed < 2**63, "seed", self.seed, "an integer of 0 or more")
        for key in ("epochs", "batch_size"):
            _require_count(key, getattr(self, key))
        _require(
            self.accumulate >= 1 and self.batch_size % self.accumulate == 0,
            "accumulate",
            self.accumulate,
            f"an integer that divides batch_size={self.batch_size}",
        )
        for key in ("label_smoothing", "ema"):
            value = getattr(self, key)
            _require(0 <= value < 1, key, value, "a number from 0 to below 1")
        clip = self.clip_grad
        _require(math.isfinite(clip) and clip >= 0, "clip_grad", clip, "a finite number, 0 or more")
        _require(
            self.scaling.phi == 0 or self.model.get("depth") == self.scaling.depth,
            "scaling.phi",
            self.scaling.phi,
            f"0 for {self.model.get('name')}: its YAML takes no depth: ${{scaling.depth}}",
        )


REQUIRED = tuple(field.name for field in fields(RunConfig) if field.default == MISSING)
"""Fields of a run without a default."""


NODES = frozenset(field.name for field in fields(RunConfig) if field.type is Node)
"""Fields of a run that hold config nodes."""


def run_config(plain: Mapping[str, Any], source: object) -> RunConfig:
    """A run's config from plain values of a plan or record; missing fields have their defaults.

    Args:
        plain: resolved values.
        source: their origin, for the message.

    Raises:
        UsageError: a field that is missing, of the wrong type or out of range.
    """
    missing = [key for key in REQUIRED if plain.get(key, MISSING) == MISSING]
    if missing:
        raise UsageError(f"{source}: {missing[0]} is missing")
    return typed(RunConfig, plain, source)


def as_plain(config: RunConfig) -> dict[str, Any]:
    """A run's config as nested plain values for JSON and YAML; enums by name."""
    return plain_value(config)


def plain_value(value: Any) -> Any:
    """A value of a run's config as `as_plain` has it."""
    return msgspec.to_builtins(_fields(value))


def _fields(value: Any) -> Any:
    """A dataclass as a dict; `asdict` would copy what it holds, and msgspec would omit defaults."""
    names = _field_names(value.__class__)
    return value if names is None else {name: _fields(getattr(value, name)) for name in names}


@cache  # because sweeps have thousands of configs
def _field_names(kind: type) -> list[str] | None:
    """The fields of a dataclass; None for other types."""
    return [field.name for field in fields(kind)] if is_dataclass(kind) else None


def comparable(config: RunConfig) -> dict[str, Any]:
    """A plain config that is equal for the same run in different versions of this package.

    Keys that later versions add to a node have neutral values (null, 0, false, empty): keys with such values
    are left out.
    """
    nodes = {key for key, value in vars(config).items() if isinstance(value, dict)}
    return {
        key: _without_neutral(value) if key in nodes else value for key, value in as_plain(config).items()
    }


def _without_neutral(node: Mapping[str, Any]) -> dict[str, Any]:
    values = {
        key: _without_neutral(value) if isinstance(value, dict) else value for key, value in node.items()
    }
    return {key: value for key, value in values.items() if value not in (None, 0, False, "", [], {})}


class XAxis(StrEnum):
    """The x axis of curves: epochs, cumulative training seconds or cumulative training images."""

    epoch = "epoch"
    seconds = "seconds"
    images = "images"


class Scale(StrEnum):
    """The scale of an axis."""

    linear = "linear"
    log = "log"


@dataclass
class FiguresConfig:
    """Grouping of runs into figures and lines, by templates over each run's config, and axes."""

    name: str = MISSING
    """Figure of a run, and the name of its files."""
    title: str = MISSING
    """Title of a run's figure."""
    line: str = MISSING
    """Line of a run: runs of a line are averaged, so they may differ in the seed only."""
    style: Any = None
    """Order and colour of the line; null: order of appearance and the default palette."""
    metric: Any = "test_error"
    """A column of `metrics.csv`, an error as 1 − the accuracy (`val_error`), or a list of such."""
    x: XAxis = XAxis.epoch
    """`epoch`, or cumulative `seconds` or training `images`."""
    y_scale: Scale = Scale.linear
    """`linear` or `log`."""
    y_range: list[float] | None = None
    """Lowest and highest value of the y axis; null: the range of the data."""
    macs: bool = False
    """Also draw the final values against multiply-accumulates."""

    def __post_init__(self) -> None:
        _require(
            bool(self.metrics) and all(isinstance(name, str) for name in self.metrics),
            "figures.metric",
            self.metric,
            "the name of a metric, or a list of such",
        )
        low, high = self.y_range if self.y_range and len(self.y_range) == 2 else (0.0, 0.0)
        lowest = 0 if self.y_scale is Scale.log else -math.inf
        _require(
            self.y_range is None or (lowest < low < high < math.inf),
            "figures.y_range",
            self.y_range,
            "[low, high] with low below high, and above 0 on a log axis",
        )

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics to draw."""
        return [self.metric] if isinstance(self.metric, str) else list(self.metric)


@dataclass
class ProtocolConfig:
    """The protocol of a comparison with a verdict: declared before its first run, frozen with the plan."""

    arms: str = "activation"
    """The swept axis whose options are compared; the other swept axes are its blocks."""
    baseline: str = MISSING
    """The baseline's option."""
    space: dict[str, list[float]] = field(default_factory=dict)
    """Bounds, low and high, of each value tuned per arm: `lr`, or others by dotted key."""
    trials: int = 7
    """Number of trials: per axis for `grid`, in total for `quasi_random`."""
    sampling: Sampling = Sampling.grid
    tuning: Tuning = Tuning.full
    widen: bool = True
    """Widen the space once, for all arms of a block, if an arm's best trial lies at its border."""
    tuning_seeds: list[int] = field(default_factory=list)
    """Seeds of each tuning trial."""
    confirmation_seeds: list[int] = field(default_factory=list)
    """Seeds of the confirmation runs, shared by all arms."""
    metric: ErrorMetric = ErrorMetric.top1
    smallest_difference: float = 0.5
    """The smallest difference of error that matters, in points (hundredths): the margin of equivalence."""
    family: Family = Family.pairs

    def __post_init__(self) -> None:
        key = "protocol.space"
        _require("lr" in self.space, key, self.space, "a mapping with lr: [low, high]")
        for name, bounds in self.space.items():
            right = "two numbers above 0, the lower one first"
            holds = len(bounds) == 2 and 0 < bounds[0] < bounds[1] < math.inf
            _require(holds, f"{key}.{name}", bounds, right)
        _require(self.trials >= 2, "protocol.trials", self.trials, "an integer of 2 or more")
        tuning, confirmation = self.tuning_seeds, self.confirmation_seeds
        for key, seeds, least in (("tuning_seeds", tuning, 1), ("confirmation_seeds", confirmation, 2)):
            holds = len(set(seeds)) == len(seeds) >= least and min(seeds) >= 0
            _require(holds, f"protocol.{key}", seeds, f"{least} or more different integers of 0 or more")
        shared = sorted(set(tuning) & set(confirmation))
        right = f"seeds that no tuning run has; {shared} are in both"
        _require(not shared, "protocol.confirmation_seeds", confirmation, right)
        difference = self.smallest_difference
        _require(0 < difference < 100, "protocol.smallest_difference", difference, "points, from 0 to 100")


@dataclass
class TrainConfig(RunConfig):
    """`senet-lab train`: a run, or a sweep of them, and where its records go."""

    name: str = MISSING
    """The sweep's name: its folder under `outputs`."""
    outputs: str = "outputs"
    """The folder of all sweeps."""
    plan: PlanMode = PlanMode.keep
    fail_fast: bool = False
    """Stop the sweep at the first run that fails."""
    pack: int | None = None
    """Number of runs that share a process and its GPU, alternating step by step; None for up to 4 on a GPU of
    this machine, as many as its memory holds, and 1 elsewhere."""
    tracker: Node = field(default_factory=dict)
    """Experiment tracker; empty for none."""
    figures: FiguresConfig = field(default_factory=FiguresConfig)
    """The figures of the sweep."""
    published: str | None = None
    """Published results for comparison: name of a file in `senet_lab/published`, or path of a .yaml file."""
    protocol: ProtocolConfig | None = None
    """A comparison in stages instead of a plain sweep."""
    power: bool = False
    """For a comparison: stop before the confirmation and print its power."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("name", self.name)
        if self.pack is not None:
            _require_count("pack", self.pack)


@dataclass
class PlotConfig(TrainConfig):
    """`senet-lab plot`."""

    band: Band = Band.std
    reference: bool = False
    """Draw published curves, if there are any."""
    folder: str | None = None
    """Output folder, instead of `figures` in the sweep's folder, which may be read-only."""
    formats: list[str] = field(default_factory=lambda: ["html", "png", "svg"])
    """Kinds of files: html, png, svg, pdf."""


@dataclass
class CompareConfig(TrainConfig):
    """`senet-lab compare`."""

    against: str = "published"
    """`published`, or the name of another sweep."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("against", self.against)


@dataclass
class ReportConfig(TrainConfig):
    """`senet-lab report`."""

    band: Band = Band.std
    target_error: float | None = None
    """Target error for the table of first epochs; null: the lowest that all lines of a figure reach."""

    def __post_init__(self) -> None:
        super().__post_init__()
        target = self.target_error
        _require(target is None or 0 <= target <= 1, "target_error", target, "a fraction from 0 to 1")


@dataclass
class VerdictConfig(TrainConfig):
    """`senet-lab verdict`."""

    format: Format = Format.table
    formats: list[str] = field(default_factory=lambda: ["html", "png", "svg", "pdf"])
    """Kinds of files of the figures: html, png, svg, pdf."""


@dataclass
class WatchConfig(TrainConfig):
    """`senet-lab watch`."""

    band: Band = Band.std
    address: str = "127.0.0.1"
    """Address of the server; the default is reachable from this machine only."""
    port: int = 0
    """Port of the server; 0: any free one."""
    allow_origin: list[str] = field(default_factory=list)
    """Further allowed origins, such as a proxy's, as `https://host[:port]`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0 <= self.port < 65536, "port", self.port, "an integer from 0 (any free one) to 65535")


@dataclass
class StatusConfig(TrainConfig):
    """`senet-lab status`."""

    format: Format = Format.table
    watch: bool = False
    """Refresh the table until the sweep is done, or Ctrl-C."""


@dataclass
class VerifyConfig(TrainConfig):
    """`senet-lab verify`."""


@dataclass
class RetryConfig(TrainConfig):
    """`senet-lab retry`."""


@dataclass
class RemoveConfig(TrainConfig):
    """`senet-lab remove`."""

    confirm: bool = False
    """Remove the listed runs; otherwise only list them."""


@dataclass
class SummaryConfig(TrainConfig):
    """`senet-lab summary`."""

    format: Format = Format.table
    layers: bool = False
    """One row per layer."""
    operations: bool = False
    """One row per kind of unit in a stage: count, multiply-accumulates, parameters."""
    norms: bool = True
    """Count scale and shift of norms among the parameters."""
    num_classes: int | None = None
    """Number of classes, instead of the data set's."""
    image_size: int | None = None
    """Pixels a side, instead of the data set's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("num_classes", "image_size"):
            value = getattr(self, key)
            _require(value is None or value >= 1, key, value, "an integer of 1 or more")


class Inspection(StrEnum):
    """The kind of inspection."""

    activations = "activations"
    excitations = "excitations"
    feature_reuse = "feature_reuse"
    activation_shapes = "activation_shapes"
    class_activation_map = "class_activation_map"
    pre_activations = "pre_activations"
    noise = "noise"
    depth = "depth"
    landscape = "landscape"


@dataclass
class InspectConfig:
    """`senet-lab inspect`."""

    run: str | None = None
    """A run directory with kept weights (`checkpoint.keep=true`; `activation_shapes` and `depth` need none,
    nor does `pre_activations` of a run with `pre_activations=true`); for `noise`, `depth` and `landscape` a
    folder of several, for `class_activation_map` either; none for `activations`."""
    kind: Inspection = Inspection.excitations
    classes: list[int] = field(default_factory=lambda: [0, 1, 2, 3])
    """`excitations`: classes with a line of their own beside the mean of all."""
    images: list[int] = field(default_factory=lambda: [0, 1, 2, 3])
    """`class_activation_map`: indices of test images."""
    levels: list[float] = field(default_factory=lambda: [0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0])
    """`noise`: standard deviations, in units of the normalised images."""
    folder: str | None = None
    """Output folder, instead of `figures` in the run's or runs' folder."""
    formats: list[str] = field(default_factory=lambda: ["html", "png", "svg"])
    """Kinds of files: html, png, svg, pdf."""


@dataclass
class DoctorConfig:
    """`senet-lab doctor`."""

    format: Format = Format.table


@dataclass
class SchemaConfig:
    """`senet-lab schema`."""

    folder: str | None = None
    """Output folder, instead of `.schema` in `--config-dir`, or in `conf/` without one."""


def check_name(key: str, name: str) -> None:
    """Refuse a folder name that leads out of its parent or is invalid on file systems.

    Raises:
        UsageError: names `key` and the allowed names.
    """
    _require(
        is_folder_name(name),
        key,
        repr(name) if len(name) < 80 else f"{name[:80]!r}…",
        "one folder name: printable, no slash, no leading dot, 200 bytes at most",
    )


def is_folder_name(name: str) -> bool:
    """Whether a name is printable and one folder's, on any file system; see `check_name`."""
    return (
        name.isprintable()  # first: what is not may have no bytes
        and 0 < len(name.encode()) <= 200
        and not name.startswith(".")
        and not set(name) & set("/\\")
    )


SCHEMAS: dict[str, type] = {
    "train": TrainConfig,
    "retry": RetryConfig,
    "remove": RemoveConfig,
    "plot": PlotConfig,
    "compare": CompareConfig,
    "report": ReportConfig,
    "verdict": VerdictConfig,
    "watch": WatchConfig,
    "status": StatusConfig,
    "verify": VerifyConfig,
    "summary": SummaryConfig,
    "inspect": InspectConfig,
    "doctor": DoctorConfig,
    "schema": SchemaConfig,
}
"""The schema of each verb's primary config."""

PLANNING_VERBS = ("train", "summary")
"""Verbs that compose runs; the others read a sweep's records."""

SELECTING_VERBS = ("retry", "remove", "plot", "compare", "report", "watch", "status", "verify")
"""Verbs that take the values of runs to select among a sweep's."""
