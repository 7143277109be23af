"""The typed schema of every config: names, types, ranges and defaults, in one place.

Hydra composes YAML into these classes; `OmegaConf.to_object` runs the range checks in `__post_init__`.
A node that becomes an object (`model`, `activation`, …) stays a plain mapping with `_target_`: its
keys are the constructor's business, and `build.py` checks them.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

import msgspec

from senet_lab.errors import UsageError
from senet_lab.files import typed

MISSING: Any = "???"
"""OmegaConf's mark of a value that must be given; importing OmegaConf takes longer than all else here."""

Node = dict[str, Any]
"""A config node that becomes an object: `_target_`, constructor arguments, `name` and `label`."""


class Precision(StrEnum):
    """Number format of the forward and backward pass; weights are float32 in each."""

    auto = "auto"
    float32 = "float32"
    tf32 = "tf32"
    bfloat16 = "bfloat16"


class Init(StrEnum):
    """How the weights of convolutions are drawn."""

    default = "default"
    """As PyTorch's layers draw them."""
    he = "he"


class PlanMode(StrEnum):
    """What to do with points that an existing plan does not hold."""

    keep = "keep"
    extend = "extend"
    new = "new"


class Band(StrEnum):
    """The band around a mean curve: sample standard deviation, standard error, or nothing."""

    std = "std"
    sem = "sem"
    none = "none"


class Family(StrEnum):
    """The comparisons that share one error rate: Holm's correction holds for all of them together."""

    baseline = "baseline"
    """Each arm against the baseline."""
    pairs = "pairs"
    """Every two arms."""


class Format(StrEnum):
    """How a table is printed."""

    table = "table"
    json = "json"


LARGEST = 10_000_000
"""Epochs of a run, or images of a batch: more are a mistake."""


def _require(holds: bool, key: str, value: object, right: str) -> None:
    if not holds:
        raise UsageError(f"{key}={value}: {key} must be {right}")


@dataclass
class TrainerConfig:
    """How the steps are computed, not what is computed."""

    device: str = "auto"
    """`auto` (CUDA where there is one, else CPU), `cpu`, `cuda` or `cuda:<n>`."""
    precision: Precision = Precision.auto
    deterministic: bool = False
    """On CUDA: bitwise repeatable kernels. The CPU path always is."""
    compile: bool | str = "auto"
    """Forward pass and loss through `torch.compile`; `auto` is `false` until a GPU was measured."""
    cuda_graph: bool = True
    """On CUDA: replay each training step as one graph. `false` for a network that a capture refuses."""

    def __post_init__(self) -> None:
        _require(
            self.compile in ("auto", True, False), "trainer.compile", self.compile, "auto, true or false"
        )


@dataclass
class ScalingConfig:
    """Compound scaling of network and image, arXiv 1905.11946: factors α^φ, β^φ and γ^φ."""

    phi: float = 0.0
    """How far: α, β and γ to this power."""
    alpha: float = 1.2
    beta: float = 1.1
    gamma: float = 1.15
    depth: float = 1.0
    """Factor of the units of each stage."""
    width: float = 1.0
    """Factor of all channels."""
    resolution: float = 1.0
    """Factor of the image's size."""

    def __post_init__(self) -> None:
        for key in ("alpha", "beta", "gamma", "depth", "width", "resolution"):
            value = getattr(self, key)
            _require(math.isfinite(value) and value > 0, f"scaling.{key}", value, "a finite number above 0")


@dataclass
class CheckpointConfig:
    """When a run writes the epoch boundary from which it can go on."""

    every: int = 1
    """Epochs between checkpoints."""
    min_seconds: float = 30.0
    """No checkpoint sooner than this after the last one: short runs are cheaper to repeat than to save."""
    keep: bool = False
    """Keep the weights of a finished run."""

    def __post_init__(self) -> None:
        _require(self.every >= 1, "checkpoint.every", self.every, "an integer of 1 or more")
        _require(
            math.isfinite(self.min_seconds) and self.min_seconds >= 0,
            "checkpoint.min_seconds",
            self.min_seconds,
            "a number of seconds, 0 or more",
        )


@dataclass
class RunConfig:
    """One run: everything that its numbers depend on, and nothing else."""

    model: Node = MISSING
    """The network."""
    activation: Node = MISSING
    """The activation under test."""
    se: Node = MISSING
    """Squeeze-and-excitation, for networks that have a place for it."""
    dataset: Node = MISSING
    """Images and their classes."""
    augment: Node = MISSING
    """Random changes of training images, and the normalisation of all."""
    optimizer: Node = MISSING
    """The rule by which a step changes the weights."""
    schedule: Node = MISSING
    """The learning rate over epochs."""
    lr: float = MISSING
    """Learning rate of the optimizer, before any schedule."""
    seed: int = MISSING
    """Drives initialisation, order and augmentation."""
    epochs: int = MISSING
    """Passes over the training images."""
    batch_size: int = MISSING
    """Images of an optimizer step."""
    accumulate: int = 1
    """Parts in which a batch goes through the network, one after the other; their gradients add up."""
    init: Init = Init.default
    scaling: ScalingConfig = field(default_factory=ScalingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        _require(math.isfinite(self.lr) and self.lr > 0, "lr", self.lr, "a finite number above 0")
        _require(0 <= self.seed < 2**63, "seed", self.seed, "an integer of 0 or more")
        for key in ("epochs", "batch_size"):
            value = getattr(self, key)
            _require(value >= 1, key, value, "an integer of 1 or more")
            _require(value <= LARGEST, key, value, f"an integer of {LARGEST:,} at most")
        _require(
            self.accumulate >= 1 and self.batch_size % self.accumulate == 0,
            "accumulate",
            self.accumulate,
            f"an integer that divides batch_size={self.batch_size}",
        )
        _require(
            self.scaling.phi == 0 or self.model.get("depth") == self.scaling.depth,
            "scaling.phi",
            self.scaling.phi,
            f"0 for {self.model.get('name')}: its YAML takes no depth: ${{scaling.depth}}",
        )


REQUIRED = tuple(field.name for field in fields(RunConfig) if field.default == MISSING)
"""Fields of a run that have no default."""


def run_config(plain: Mapping[str, Any], source: object) -> RunConfig:
    """A run's config from plain values, as plans and records hold them; what they lack has its default.

    Args:
        plain: resolved values.
        source: where they are from, for the message.

    Raises:
        UsageError: a field that is missing, of the wrong type or out of range.
    """
    missing = [key for key in REQUIRED if plain.get(key, MISSING) == MISSING]
    if missing:
        raise UsageError(f"{source}: {missing[0]} is missing")
    return typed(RunConfig, plain, source)


def as_plain(config: RunConfig) -> dict[str, Any]:
    """A run's config as JSON and YAML can hold it, nested as the YAML is; enums by their names."""
    return msgspec.to_builtins(asdict(config))  # which alone leaves out fields that have their default


def comparable(config: RunConfig) -> dict[str, Any]:
    """A plain config that equals that of the same run in another version of this package.

    A key that a node gets later has a value that changes nothing (null, 0, false, empty): such keys are
    left out.
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
    """The x axis of curves: epochs, or the training time or images that add up."""

    epoch = "epoch"
    seconds = "seconds"
    images = "images"


class Scale(StrEnum):
    """The scale of an axis."""

    linear = "linear"
    log = "log"


@dataclass
class FiguresConfig:
    """Templates over each run's own config, which say what shares a figure and a line; and what is drawn."""

    name: str = MISSING
    """Runs with the same name share a figure; also the name of its files."""
    title: str = MISSING
    line: str = MISSING
    """Runs with the same line are averaged; they may differ in the seed only."""
    style: Any = None
    """Order and color of the line; null for the order of appearance and the default palette."""
    metric: Any = "test_error"
    """A column of `metrics.csv`, an error as 1 − the accuracy (`val_error`), or a list of such."""
    x: XAxis = XAxis.epoch
    """`epoch`, or the `seconds` or training `images` that add up."""
    y_scale: Scale = Scale.linear
    """`linear` or `log`."""
    y_range: list[float] | None = None
    """Lowest and highest value of the y axis; by default all that is drawn."""
    macs: bool = False
    """Also draw the last values against multiply-accumulates."""

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
class TrainConfig(RunConfig):
    """`senet-lab train`: a run, or a sweep of them, and where its records go."""

    name: str = MISSING
    """The folder under `outputs`."""
    outputs: str = "outputs"
    """The folder of all sweeps."""
    plan: PlanMode = PlanMode.keep
    fail_fast: bool = False
    """Stop the sweep at the first run that fails."""
    pack: int = 1
    """Runs that share a process and its GPU, a step each in turn; the next ones start when all have ended."""
    tracker: Node = field(default_factory=dict)
    """Where else the runs are shown; empty for nowhere."""
    figures: FiguresConfig = field(default_factory=FiguresConfig)
    """What `plot` makes of the sweep; here, so that an experiment can say it."""
    published: str | None = None
    """Others' results to stand beside: a file of `senet_lab/published` by name, or a path to a .yaml file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("name", self.name)
        _require(self.pack >= 1, "pack", self.pack, "an integer of 1 or more")


@dataclass
class PlotConfig(TrainConfig):
    """`senet-lab plot`."""

    band: Band = Band.std
    reference: bool = False
    """Draw the published curves where there are any."""
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
    """The error whose first epoch is told; by default the lowest that all lines of a figure reach."""

    def __post_init__(self) -> None:
        super().__post_init__()
        target = self.target_error
        _require(target is None or 0 <= target <= 1, "target_error", target, "a fraction from 0 to 1")


@dataclass
class WatchConfig(TrainConfig):
    """`senet-lab watch`."""

    band: Band = Band.std
    address: str = "127.0.0.1"
    """Where the server listens: this machine alone, unless told otherwise."""
    port: int = 0
    """0 takes a free one."""
    allow_origin: list[str] = field(default_factory=list)
    """More addresses at which a browser may reach the view, as `https://host[:port]`: a proxy's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0 <= self.port < 65536, "port", self.port, "an integer from 0 (any free one) to 65535")


@dataclass
class StatusConfig(TrainConfig):
    """`senet-lab status`."""

    format: Format = Format.table
    watch: bool = False
    """Draw the table again and again until the sweep is done or Ctrl-C."""


@dataclass
class RetryConfig(TrainConfig):
    """`senet-lab retry`."""


@dataclass
class RemoveConfig(TrainConfig):
    """`senet-lab remove`."""

    confirm: bool = False
    """Remove what is listed; without it, list only."""


@dataclass
class SummaryConfig(TrainConfig):
    """`senet-lab summary`."""

    format: Format = Format.table
    layers: bool = False
    """One row a layer."""
    operations: bool = False
    """One row for each kind of unit in a stage: how often, multiply-accumulates, coefficients."""
    num_classes: int | None = None
    """Instead of the data set's."""
    image_size: int | None = None
    """Pixels a side, instead of the data set's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("num_classes", "image_size"):
            value = getattr(self, key)
            _require(value is None or value >= 1, key, value, "an integer of 1 or more")


class Inspection(StrEnum):
    """What to look at inside a trained network."""

    excitations = "excitations"
    feature_reuse = "feature_reuse"
    activation_shapes = "activation_shapes"
    class_activation_map = "class_activation_map"


@dataclass
class InspectConfig:
    """`senet-lab inspect`."""

    run: str = MISSING
    """A run directory; all kinds but `activation_shapes` need its weights: `checkpoint.keep=true`."""
    kind: Inspection = Inspection.excitations
    classes: list[int] = field(default_factory=lambda: [0, 1, 2, 3])
    """`excitations`: classes with a line of their own beside the mean of all."""
    images: list[int] = field(default_factory=lambda: [0, 1, 2, 3])
    """`class_activation_map`: indices of test images."""
    formats: list[str] = field(default_factory=lambda: ["html", "png", "svg"])
    """Kinds of files: html, png, svg, pdf."""


@dataclass
class DoctorConfig:
    """`senet-lab doctor`."""

    format: Format = Format.table


def check_name(key: str, name: str) -> None:
    """Refuse a folder name that would leave its parent, or that no file system takes.

    Raises:
        UsageError: naming `key` and what a name may be.
    """
    _require(
        0 < len(name.encode()) <= 200
        and name.isprintable()
        and not name.startswith(".")
        and not set(name) & set("/\\"),
        key,
        repr(name) if len(name) < 80 else f"{name[:80]!r}…",
        "one folder name: printable, no slash, no leading dot, 200 bytes at most",
    )


SCHEMAS: dict[str, type] = {
    "train": TrainConfig,
    "retry": RetryConfig,
    "remove": RemoveConfig,
    "plot": PlotConfig,
    "compare": CompareConfig,
    "report": ReportConfig,
    "watch": WatchConfig,
    "status": StatusConfig,
    "summary": SummaryConfig,
    "inspect": InspectConfig,
    "doctor": DoctorConfig,
}
"""The schema of each verb's primary config."""
