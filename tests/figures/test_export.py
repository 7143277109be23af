import os
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import browser
import pandas as pd
import pytest
from records import TEMPLATES, run_config, write_run

from senet_lab.config import Band
from senet_lab.figures import export
from senet_lab.figures.charts import draw
from senet_lab.figures.export import (
    BrowserError,
    compile_chart,
    find_chromium,
    headless_chromium,
)
from senet_lab.analysis.grouping import group, read_runs

NOTE = "Missing: nothing but <b>a note</b>."


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
    (figure,) = group(read_runs(sweep), TEMPLATES)
    table = pd.DataFrame({"line": ["<i>x</i>", "y"], "mean": [0.123456, None], "n": [3, 3]})
    return compile_chart(draw(figure, Band.std, False, [NOTE]), [NOTE], table)


@pytest.fixture
def page(drawing, tmp_path):
    """The HTML in a browser that keeps its logs."""
    (tmp_path / "figure.html").write_text(drawing.html, "utf-8")
    with browser.chromium(tmp_path) as chrome:
        browser.open_page(chrome, (tmp_path / "figure.html").as_uri(), width=1280, plots=1)
        yield chrome


class References(HTMLParser):
    """Collects every address that a page's markup points to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str | None] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.found += [value for name, value in attrs if name in ("src", "href", "data", "srcset", "action")]


def test_html_refers_to_nothing_outside(drawing):
    assert References('<img src="http://example.org/x.png">').found == ["http://example.org/x.png"]
    assert References(drawing.html).found == []
    assert "@import" not in drawing.html


def test_html_has_the_text_of_the_figure_escaped(drawing):
    assert "<h1>SENet-18 with learning rate 0.001</h1>" in drawing.html
    assert "mean of 3 runs, band: ±1 sample standard deviation" in drawing.html
    assert "Missing: nothing but &lt;b&gt;a note&lt;/b&gt;." in drawing.html
    assert "<td>&lt;i&gt;x&lt;/i&gt;</td><td>0.1235</td><td>3</td>" in drawing.html
    assert "<td>y</td><td></td><td>3</td>" in drawing.html
    assert "<script>alert" not in drawing.html


@pytest.mark.browser
def test_html_loads_without_errors_or_requests(page):
    assert browser.complaints(page) == []
    # chrome: is the browser's own empty tab.
    assert {"file"} <= browser.requests(page) <= {"file", "data", "chrome"}


@pytest.mark.browser
def test_html_fits_a_phone(page):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.wait(
        lambda: (
            300 < page.execute_script("return Bokeh.index.roots[0].el.getBoundingClientRect().right") <= 390
            and page.execute_script("return document.body.scrollWidth") <= 390
        )
    )


@pytest.mark.browser
def test_hovering_shows_the_values_of_a_point(page):
    browser.wait(lambda: browser.point_at(page, figure=0, line=1, point=1).get("epoch") == "1")
    values = browser.tooltip(page)
    assert values == {
        "line": "TAct<script>alert(1)</script>",
        "epoch": "1",
        "mean error": "0.2000",
        "std": "0.0000",
        "n": "3",
    }


@pytest.mark.browser
def test_a_click_in_the_legend_hides_line_and_band(page):
    visible = """
        return Bokeh.index.roots[0].model.renderers.map((renderer) => [renderer.name, renderer.visible])
    """
    assert all(shown for _, shown in page.execute_script(visible))
    item = page.execute_script("""
        const view = Bokeh.index.roots[0]
        const legend = [...view.model.right, ...view.model.center].find((model) => model.type == "Legend")
        return Bokeh.index.find_one(legend).el.shadowRoot.querySelector(".bk-item")
    """)
    item.click()
    hidden = [name for name, shown in page.execute_script(visible) if not shown]
    assert sorted(hidden) == ["band", "mean"]


@pytest.mark.browser
def test_png_is_sharp_and_svg_has_real_text(drawing, chromium):
    with headless_chromium(*chromium) as render:
        svg, png = render(drawing)
        again, _ = render(drawing)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (2 * drawing.width, 2 * drawing.height)
    root = ElementTree.fromstring(svg)
    assert (int(root.attrib["width"]), int(root.attrib["height"])) == (drawing.width, drawing.height)
    texts = {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert texts >= {
        "SENet-18 with learning rate 0.001",
        "mean of 3 runs, band: ±1 sample standard deviation",
        NOTE,
        "Epoch",
        "Error",
        "ReLU<script>alert(1)</script>",
    }
    assert "<image" not in svg, "vectors only, in the legend too"
    # The legend's right edge; a layout that went wrong ends in the middle.
    assert any(0.9 < float(x) / drawing.width < 1 for x in re.findall(r"L (\S+) ", svg))
    assert len(again) == pytest.approx(len(svg), rel=0.01), "one drawing leaves nothing for the next"


@pytest.mark.browser
def test_ticks_can_be_told_apart_however_narrow_the_range(chromium, tmp_path):
    with headless_chromium(*chromium) as render:
        for number, spread in enumerate((0.3, 0.01, 0.0005)):
            write_run(tmp_path / str(number), run_config(), [0.1, 0.1 + spread])
            (figure,) = group(read_runs(tmp_path / str(number)), TEMPLATES)
            chart = draw(figure, Band.std, False, ())
            svg, _ = render(compile_chart(chart, [], pd.DataFrame()))
            # Each text stands there twice, as its fill and as its outline.
            texts = ElementTree.fromstring(svg).findall(".//{http://www.w3.org/2000/svg}text[@stroke='none']")
            ticks = [text for node in texts if (text := "".join(node.itertext())).startswith("0.")]
            assert len(ticks) >= 3
            assert len(set(ticks)) == len(ticks)
            assert len({len(tick) for tick in ticks}) == 1, "trailing zeros stay"


def running(word: str) -> list[int]:
    """Living processes with `word` in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            alive = process.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
            if alive and word in process.joinpath("cmdline").read_text():
                found.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def gone(word: str) -> bool:
    """Whether they all end, which on a busy machine may take the kernel a while."""
    deadline = time.monotonic() + 60
    while running(word) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not running(word)


@pytest.fixture
def short_folder():
    """A folder whose name leaves Chromium room for its socket, which 108 bytes must hold."""
    with tempfile.TemporaryDirectory(prefix="plot-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.mark.browser
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_no_process_and_no_file_outlives_an_error(chromium, short_folder, monkeypatch, error):
    monkeypatch.setenv("TMPDIR", short_folder)
    monkeypatch.setattr(tempfile, "tempdir", short_folder)
    with pytest.raises(error), headless_chromium(*chromium):  # noqa: PT012
        assert running(short_folder)
        raise error
    assert gone(short_folder)
    assert list(Path(short_folder).iterdir()) == []


@pytest.mark.browser
def test_a_temporary_folder_with_a_name_too_long_for_a_socket(chromium, drawing, tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with headless_chromium(*chromium) as render:
        svg, _ = render(drawing)
    assert "<svg" in svg


@pytest.mark.browser
def test_no_process_outlives_a_killed_plot(chromium, short_folder):
    code = (
        "import sys, time; from senet_lab.figures.export import headless_chromium\n"
        "with headless_chromium(*sys.argv[1:], limit=300): print('up', flush=True); time.sleep(300)"
    )
    environment = os.environ | {"TMPDIR": short_folder}
    plot = subprocess.Popen(
        [sys.executable, "-c", code, *chromium], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert plot.stdout is not None
    assert plot.stdout.readline() == "up\n"
    assert running(short_folder)
    plot.send_signal(signal.SIGKILL)
    plot.wait()
    assert gone(short_folder)


def executable(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.browser
def test_a_browser_that_hangs_is_given_up(chromium, tmp_path):
    browser = executable(tmp_path / "chromium", "sleep 1000; exit")  # no exec: its name tells whose it is
    with (
        pytest.raises(BrowserError, match="no answer in 2 s"),
        headless_chromium(browser, chromium[1], limit=2),
    ):
        pass
    assert gone(str(tmp_path))


@pytest.mark.browser
def test_a_browser_that_stops_in_the_middle_is_given_up(chromium, drawing, short_folder, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", short_folder)
    limited = export._limited
    with headless_chromium(*chromium) as render:
        # Starting may take its time on a busy machine.
        monkeypatch.setattr(export, "_limited", lambda service, _: limited(service, 2))
        for process in running(short_folder):
            if "crashpad" not in Path(f"/proc/{process}/cmdline").read_text():
                os.kill(process, signal.SIGSTOP)
        with pytest.raises(BrowserError, match="no answer in 2 s"):
            render(drawing)
    assert gone(short_folder)


@pytest.mark.parametrize("script", ["exit 1", "sleep 1000; exit"])
def test_a_driver_that_is_none(tmp_path, script):
    driver = executable(tmp_path / "chromedriver", script)
    with pytest.raises(BrowserError), headless_chromium("/bin/true", driver, limit=2):
        pass
    assert gone(driver)


@pytest.mark.browser
def test_an_error_of_the_page_is_told(chromium, drawing):
    broken = type(drawing)(drawing.html, '{"doc": {}}', drawing.width, drawing.height)
    with pytest.raises(BrowserError, match="Error"), headless_chromium(*chromium) as render:
        render(broken)


def test_chromium_needs_its_driver_too(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_chromium() is None
    browser = executable(tmp_path / "google-chrome", "exit 0")
    assert find_chromium() is None
    driver = executable(tmp_path / "chromedriver", "exit 0")
    assert find_chromium() == (browser, driver)
    assert shutil.which("chromedriver") == driver
