#!/usr/bin/env bash
# The suite on torch 2.11, the oldest release that the package supports. Its environment is .venv-torch211, some
# 6 GB, made once; everything but torch is of the newest release that pyproject.toml allows. Arguments go to pytest.
#   scripts/test_torch211.sh tests/training
set -euo pipefail
cd "$(dirname "$0")/.."
env=.venv-torch211
stamp=$env/pyproject.sha256

want=$(sha256sum < pyproject.toml)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$want" ]; then
    "${PYTHON:-python3}" -m venv "$env"
    # torchvision names the one release of torch that it is built for, so pip finds the matching pair.
    "$env/bin/python" -m pip install -qq --disable-pip-version-check 'torch==2.11.*' torchvision --editable '.[dev]'
    echo "$want" > "$stamp"
fi

"$env/bin/python" -c 'import torch; assert torch.__version__.startswith("2.11."), torch.__version__'
OMP_NUM_THREADS=1 "$env/bin/python" -m pytest -n 2 --dist worksteal "$@"
