"""Drawings through the headless Chromium, and that nothing of it outlives the work."""

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
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from records_on_disk import NOTE, chart_of, run_config, write_run

from senet_lab.figures import browser as browser_module
from senet_lab.figures.browser import BrowserError, find_chromium, headless_chromium
from senet_lab.figures.export import compile_chart


@pytest.fixture(scope="module")
def render(chromium):
    """A browser for tests that draw; those of how it begins and ends have their own."""
    with headless_chromium(*chromium) as rendering:
        yield rendering


@pytest.mark.browser
def test_png_is_sharp_and_svg_has_real_text(drawing, render):
    svg, png = render(drawing, ("svg", "png")).values()
    again = render(drawing, ["svg"])["svg"]
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (2 * drawing.width, 2 * drawing.height)
    root = ElementTree.fromstring(svg)
    assert (int(root.attrib["width"]), int(root.attrib["height"])) == (drawing.width, drawing.height)
    texts = {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert texts >= {
        "SENet-18 with learning rate 0.001",
        "Digits, standard network; mean of 3 runs, band: ±1 sample standard deviation",
        NOTE,
        "Epoch",
        "Error",
        "ReLU<script>alert(1)</script>",
    }
    assert b"<image" not in svg, "vectors only, in the legend too"
    # The legend's right edge; a layout that went wrong ends in the middle.
    assert any(0.9 < float(x) / drawing.width < 1 for x in re.findall(rb"L (\S+) ", svg))
    assert len(again) == pytest.approx(len(svg), rel=0.01), "one drawing leaves nothing for the next"


@pytest.mark.browser
def test_pdf_is_one_sheet_of_vectors_as_large_as_the_drawing(drawing, render):
    pdf = render(drawing, ["pdf"])["pdf"]
    assert pdf.startswith(b"%PDF-")
    (box,) = re.findall(rb"/MediaBox \[0 0 (\S+) (\S+)\]", pdf)
    assert [float(side) for side in box] == pytest.approx(
        [0.75 * drawing.width, 0.75 * drawing.height], abs=1
    )
    assert len(re.findall(rb"/Type /Page\b", pdf)) == 1
    assert b"/Subtype /Image" not in pdf
    assert b"/FontFile2" in pdf, "text, with the letters that it needs"


@pytest.mark.browser
def test_ticks_can_be_told_apart_however_narrow_the_range(render, tmp_path):
    for number, spread in enumerate((0.3, 0.01, 0.0005)):
        write_run(tmp_path / str(number), run_config(), [0.1, 0.1 + spread])
        chart = chart_of(tmp_path / str(number))
        svg = render(compile_chart(chart, [], pd.DataFrame()), ["svg"])["svg"]
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
        svg = render(drawing, ["svg"])["svg"]
    assert b"<svg" in svg


@pytest.mark.browser
def test_no_process_outlives_a_killed_plot(chromium, short_folder):
    code = (
        "import sys, time; from senet_lab.figures.browser import headless_chromium\n"
        "with headless_chromium(*sys.argv[1:], limit=300): print('up', flush=True); time.sleep(300)"
    )
    environment = os.environ | {"TMPDIR": short_folder}
    with subprocess.Popen(
        [sys.executable, "-c", code, *chromium], env=environment, stdout=subprocess.PIPE, text=True
    ) as plot:
        assert plot.stdout is not None
        assert plot.stdout.readline() == "up\n"
        assert running(short_folder)
        plot.send_signal(signal.SIGKILL)
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
    limited = browser_module._limited
    with headless_chromium(*chromium) as render:
        # Starting may take its time on a busy machine.
        monkeypatch.setattr(browser_module, "_limited", lambda service, _: limited(service, 0.5))
        for process in running(short_folder):
            if "crashpad" not in Path(f"/proc/{process}/cmdline").read_text():
                os.kill(process, signal.SIGSTOP)
        with pytest.raises(BrowserError, match=r"no answer in 0\.5 s"):
            render(drawing, ["svg"])
    assert gone(short_folder)


@pytest.mark.parametrize("script", ["exit 1", "sleep 1000; exit"])
def test_a_driver_that_is_none(tmp_path, script):
    driver = executable(tmp_path / "chromedriver", script)
    with pytest.raises(BrowserError), headless_chromium("/bin/true", driver, limit=0.5):
        pass
    assert gone(driver)


@pytest.mark.browser
def test_an_error_of_the_page_is_told(chromium, drawing):
    broken = type(drawing)(drawing.html, '{"doc": {}}', drawing.width, drawing.height)
    with pytest.raises(BrowserError, match="Error"), headless_chromium(*chromium) as render:
        render(broken, ["svg"])


def test_chromium_needs_its_driver_too(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_chromium() is None
    browser = executable(tmp_path / "google-chrome", "exit 0")
    assert find_chromium() is None
    driver = executable(tmp_path / "chromedriver", "exit 0")
    assert find_chromium() == (browser, driver)
    assert shutil.which("chromedriver") == driver
