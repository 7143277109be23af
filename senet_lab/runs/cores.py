"""Number of CPU cores for runs."""

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
