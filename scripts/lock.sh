#!/usr/bin/env bash
# Pins every dependency again, with hashes: run it after a change of pyproject.toml's dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."

# torchvision's wheel goes with a torch of its own release only; from 2.14 on, pip finds the pair.
constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
echo "torch>=2.14" > "$constraints"

lock() {
    .venv/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
        --constraint "$constraints" "$@" pyproject.toml
}
lock --output-file requirements.lock
lock --extra dev,timm,ray,slurm,tensorboard,mlflow,wandb,huggingface --output-file requirements-dev.lock
