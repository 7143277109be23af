#!/usr/bin/env bash
# Installs Chromium, where root may and apt-get is there, and builds .venv from a lock file, once; called by the others.
#   scripts/setup.sh requirements.lock
set -euo pipefail
cd "$(dirname "$0")/.."
lock=$1
stamp=.venv/$(basename "$lock").sha256

if ! command -v chromedriver >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    # Without it there are no PNG and SVG figures, but all else, so a failure stops nothing here.
    { apt-get update -qq && apt-get install -y -qq chromium chromium-driver >/dev/null; } ||
        echo "scripts/setup.sh: apt-get could not install Chromium, so figures will be HTML alone" >&2
fi

want=$(cat "$lock" pyproject.toml | sha256sum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
    exit 0
fi

python=
for candidate in python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "scripts/setup.sh: no Python 3.11, 3.12 or 3.13 on the PATH: install one of them" >&2
    exit 2
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "installing $lock into .venv (about 6 GB with torch; a few minutes)"
.venv/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r "$lock"
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --editable .
echo "$want" > "$stamp"
