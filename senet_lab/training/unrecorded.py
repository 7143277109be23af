"""A run without a record: for the ranks beside the first one, and for scripts that measure training."""

from collections.abc import Iterator
from contextlib import contextmanager

from senet_lab.config import RunConfig
from senet_lab.seeding import seed_global
from senet_lab.training.engine import choose_engine
from senet_lab.training.loop import Training


@contextmanager
def unrecorded(config: RunConfig, threads: int) -> Iterator[Training]:
    """A run from its first epoch on, seeded, with its settings of the process in force within.

    Args:
        config: of the run.
        threads: CPU threads.

    Raises:
        UsageError: see `choose_engine`.
    """
    engine = choose_engine(config.trainer)
    with engine.settings(threads):
        seed_global(config.seed)
        yield Training(config, engine)
