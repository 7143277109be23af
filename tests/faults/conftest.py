from pathlib import Path

import pytest
from shim import REASON, build, has_compiler
from sweeps import no_process_stays, one_thread, outputs, undisturbed  # noqa: F401


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that injects faults."""
    if not has_compiler():
        pytest.skip(REASON)
    return build(tmp_path_factory.mktemp("shim"))
