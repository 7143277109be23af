import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import tiny

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout and installed in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder / "dist"),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*pip, str(folder / "site"), str(wheel)], check=True, capture_output=True)
    return folder / "site"


def test_the_installed_wheel_works_outside_the_checkout(site: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = "import senet_lab; print(senet_lab.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(site))
    run = [sys.executable, "-m", "senet_lab", "train", *tiny(tmp_path), "epochs=1"]
    subprocess.run(run, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert list((tmp_path / "outputs").rglob("metrics.csv"))


def test_the_wheel_carries_the_configs_and_the_published_numbers(site: Path) -> None:
    ours = {file.relative_to(ROOT) for file in (ROOT / "conf").rglob("*.yaml")}
    packed = {file.relative_to(site / "senet_lab") for file in (site / "senet_lab/conf").rglob("*.yaml")}
    assert packed == ours
    assert list((site / "senet_lab/published").rglob("*.csv"))
