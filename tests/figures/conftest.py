"""A drawing with everything that can go wrong in text, and the browser that renders it."""

import pandas as pd
import pytest
from records_on_disk import NOTE, chart_of, run_config, write_run

from senet_lab.figures.browser import find_chromium
from senet_lab.figures.export import compile_chart


@pytest.fixture(scope="module")
def chromium():
    found = find_chromium()
    assert found, "these tests need Chromium: apt-get install chromium chromium-driver"
    return found


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    sweep = tmp_path_factory.mktemp("sweep")
    for name, top1 in (("relu", 0.5), ("tact", 0.7)):
        for seed in range(3):
            config = run_config(activation=name, seed=seed)
            config["activation"]["label"] += "<script>alert(1)</script>"
            write_run(sweep, config, [top1 + 0.01 * seed, top1 + 0.1, top1 + 0.15])
    table = pd.DataFrame({"line": ["<i>x</i>", "y"], "mean": [0.123456, None], "n": [3, 3]})
    return compile_chart(chart_of(sweep, notes=[NOTE]), [NOTE], table)
