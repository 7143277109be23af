"""What all tests share."""

import gc


def pytest_collection_finish() -> None:
    """Spare the collector what is imported: statsmodels starts it in every correction of p values."""
    gc.collect()
    gc.freeze()
