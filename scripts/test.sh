#!/usr/bin/env bash
# Sets up what the tests need, then lint, format, types and the whole suite. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh requirements-dev.lock

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/lint-imports --no-cache
# Tests write records by the thousand, each synced to disk: in memory that takes no time.
if [ "$(df --output=avail /dev/shm 2>/dev/null | tail -n 1)" -gt 4000000 ] 2>/dev/null; then
    export PYTEST_DEBUG_TEMPROOT=/dev/shm
fi
# One thread a process: two workers on two cores, and torch does not fight over them.
OMP_NUM_THREADS=1 .venv/bin/pytest -n 2 --dist worksteal "$@"
