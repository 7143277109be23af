#!/usr/bin/env bash
# From a clean clone to the six error plots, on images that come with scikit-learn: no download of data.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh requirements.lock
sweep=(experiment=six_plots name=quickstart dataset=digits epochs=5)
.venv/bin/senet-lab train "${sweep[@]}"
.venv/bin/senet-lab plot "${sweep[@]}"
.venv/bin/senet-lab verify name=quickstart
