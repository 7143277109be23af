"""CPU cores of this machine for runs."""

import os

import joblib

from senet_lab.errors import UsageError


def cpu_count() -> int:
    """CPU cores that this process may use, at most `LOKY_MAX_CPU_COUNT`.

    Raises:
        UsageError: that environment variable is no whole number.
    """
    try:
        return joblib.cpu_count()
    except ValueError as error:
        limit = os.environ.get("LOKY_MAX_CPU_COUNT")
        raise UsageError(f"LOKY_MAX_CPU_COUNT={limit}: must be a whole number of cores") from error


def equal_share(runs: int, cores: int | None = None) -> int:
    """An equal share of the cores for each of `runs`, at least one.

    Args:
        runs: their number.
        cores: cores to share; None for `cpu_count`.
    """
    return max(1, (cores or cpu_count()) // runs)
