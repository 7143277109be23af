"""What all tests share."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def imports_are_no_garbage() -> Iterator[None]:
    """Spare the collector what is there already: statsmodels starts it in every correction of p values."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
