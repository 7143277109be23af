#!/usr/bin/env bash
# Sets up what the tests need, then lint, format, types and the whole suite. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh requirements-dev.lock

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/lint-imports --no-cache
# One thread a process: two workers on two cores, and torch does not fight over them.
OMP_NUM_THREADS=1 .venv/bin/pytest -n 2 --dist worksteal "$@"
