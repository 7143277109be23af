"""The rows of a run's tables: these classes define headers, order and types.

Add a new column at the end of its class and fill it in during training; all readers follow.
A column that a record lacks reads as missing (NaN in frames); columns of later versions are kept.
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Metrics:
    """One epoch of a run: a row of `metrics.csv`.

    Losses are means per image (nats), accuracies fractions of images. None: not measured, a blank cell.
    """

    epoch: int
    """Counts from 0."""
    lr: float
    """Learning rate at the epoch's first step."""
    train_loss: float
    """Training loss, mean over the epoch's steps."""
    train_top1: float
    """Training top-1 accuracy, on the augmented images, as the weights change."""
    test_loss: float | None
    """Test loss."""
    test_top1: float | None
    """Test top-1 accuracy."""
    test_top5: float | None
    """Test top-5 accuracy."""
    seconds: float
    """Duration of the epoch in seconds, evaluation included."""
    images: int | None = None
    """Training images seen since the run began."""
    val_loss: float | None = None
    """Validation loss."""
    val_top1: float | None = None
    """Validation top-1 accuracy."""
    val_top5: float | None = None
    """Validation top-5 accuracy."""
    test_ema_loss: float | None = None
    """Test loss of averaged weights."""
    test_ema_top1: float | None = None
    """Test top-1 accuracy of averaged weights."""
    test_ema_top5: float | None = None
    """Test top-5 accuracy of averaged weights."""
    val_ema_loss: float | None = None
    """Validation loss of averaged weights."""
    val_ema_top1: float | None = None
    """Validation top-1 accuracy of averaged weights."""
    val_ema_top5: float | None = None
    """Validation top-5 accuracy of averaged weights."""


@dataclass(frozen=True)
class Coefficient:
    """A learned activation coefficient at the end of an epoch: a row of `activations.csv`."""

    epoch: int
    """Counts from 0."""
    site: str
    """Name of the activation's module in the network; `site[3]` for channel 3 of a value per channel."""
    coefficient: str
    """Name of the coefficient, such as `alpha`."""
    value: float


QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
"""Recorded quantiles of pre-activations, by name."""
MEASURES = ("mean", "std", *QUANTILES, "dead")
"""What is recorded of each site: mean, standard deviation and quantiles of its pre-activations; the share of
dead channels, whose output is constant."""


@dataclass(frozen=True)
class PreActivation:
    """A statistic of a site's pre-activations, or its dead channels: a row of `pre_activations.csv`."""

    epoch: int
    """Number of epochs done: 0 before training, so one more than in the other tables."""
    site: str
    """Name of the activation's module in the network; sites come in the order of the forward pass."""
    measure: str
    """One of `MEASURES`."""
    value: float


Row = Metrics | Coefficient | PreActivation
KEYS: dict[type[Row], tuple[str, ...]] = {
    Metrics: ("epoch",),
    Coefficient: ("epoch", "site", "coefficient"),
    PreActivation: ("epoch", "site", "measure"),
}
"""Key columns of each table; every record must have them."""


def columns(kind: type[Row]) -> tuple[str, ...]:
    """The columns of a table, in order."""
    return tuple(field.name for field in fields(kind))


def text_columns(kind: type[Row]) -> frozenset[str]:
    """The columns that hold text; all others hold numbers."""
    return frozenset(field.name for field in fields(kind) if field.type is str)
