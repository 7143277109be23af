"""The report and the live view in a real browser, at the width of a desk and of a phone."""

import base64
import json
import re
import signal
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from browser import (
    FIGURES,
    chromium,
    complaints,
    open_page,
    point_at,
    requests,
    tooltip,
    wait,
)
from records_on_disk import STYLES, directory_of, run_config, write_plan, write_run
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from test_live import add_epoch, set_status

from senet_lab.commands.report import report
from senet_lab.composition.command import compose_command
from senet_lab.records.run import RunDirectory

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror=alert(1)>"
SCRIPT = "<script>alert(1)</script>"
ENVIRONMENT = {
    "senet_lab": "0.1.0", "git": {"commit": SCRIPT, "dirty": False}, "python": "3.11", "torch": "2.15",
    "device": "x86_64", "device_type": "cpu", "precision": "float32", "threads": 1, "host": "here",
    "platform": "Linux",
}  # fmt: skip
WIDTHS = (1280, 390)
DARK = [{"name": "prefers-color-scheme", "value": "dark"}]


def evil_config(activation="relu", seed=0):
    config = run_config(activation=activation, seed=seed)
    config["activation"]["label"] += SCRIPT
    config["model"]["label"] += SCRIPT
    return config


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A sweep with a name, a model and activations that are markup; one run each is failed, torn, missing."""
    folder = tmp_path_factory.mktemp("outputs")
    sweep = folder / EVIL
    configs = [evil_config(name, seed) for name in ("relu", "tact") for seed in range(3)]
    write_plan(sweep, configs)
    for config, top1 in zip(configs[:3], (0.5, 0.52, 0.54), strict=True):
        path = write_run(sweep, config, [top1, top1 + 0.125, top1 + 0.25])
        (path / "environment.json").write_text(json.dumps(ENVIRONMENT))
    failed = write_run(sweep, configs[3], [0.75, 0.5], state="failed")
    set_status(failed, error=f"ValueError: {SCRIPT}")
    (failed / "error.txt").write_text(f"Traceback: {SCRIPT}\n")
    rows = [f"{epoch},{SCRIPT},{0.1 * epoch},{0.3 - 0.1 * epoch}" for epoch in range(2)]
    (failed / "activations.csv").write_text("\n".join(["epoch,site,alpha,beta", *rows]) + "\n")
    torn = write_run(sweep, configs[4], [0.5])
    (torn / "status.json").write_text('{"state": "runn')
    return folder


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


def command(outputs, verb):
    return compose_command(verb, [f"name='{EVIL}'", f"outputs={outputs}"])


@pytest.fixture(scope="module")
def page(outputs):
    assert report(command(outputs, "report")) == 1  # a run of these cannot be read
    return outputs / EVIL / "report.html"


def fits(chrome, width):
    """Whether nothing reaches beyond the page's width, once it is laid out."""
    return chrome.execute_script("return document.documentElement.scrollWidth") <= width


def injected(chrome):
    """Elements that the names above would have made."""
    return chrome.execute_script("""
        const inside = (e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]
        const all = (node) => [...node.querySelectorAll("*")].flatMap(inside)
        return all(document).filter((e) => e.matches("[onerror]") || e.text == "alert(1)").length
    """)


@pytest.mark.parametrize("width", WIDTHS)
def test_report_stands_alone(chrome, page, width):
    open_page(chrome, page.as_uri(), width, plots=2)
    assert complaints(chrome) == []
    assert requests(chrome) <= {"file", "data", "chrome"}
    wait(lambda: fits(chrome, width))
    assert injected(chrome) == 0
    text = chrome.find_element(By.TAG_NAME, "body").text
    for part in (
        EVIL,
        f"SENet-18{SCRIPT} with learning rate 0.001",
        "1 failed, 3 finished, 1 missing, 1 unreadable",
        "lines is never shown",
        "learned coefficients",
        f"commit {SCRIPT}",
        "senet-lab report",
    ):
        assert part in text


def test_report_hover_legend_and_sorting(chrome, page):
    open_page(chrome, page.as_uri(), 1280, plots=2)
    wait(lambda: point_at(chrome, figure=0, line=0, point=1).get("mean error") == "0.3550")
    assert tooltip(chrome)["line"] == f"ReLU{SCRIPT}"

    item = chrome.execute_script(f"""{FIGURES}
        const legend = figures()[0].model.right.find((model) => model.type == "Legend")
        return Bokeh.index.find_one(legend).el.shadowRoot.querySelector(".bk-item")
    """)
    item.click()
    shown = chrome.execute_script(f"{FIGURES}; return figures()[0].model.renderers.map((r) => r.visible)")
    assert shown.count(False) == 2, "band and line"

    button = next(
        b for b in chrome.find_elements(By.CSS_SELECTOR, "th button") if b.text.startswith("last error")
    )

    def errors():
        return chrome.execute_script(
            """
            const heading = arguments[0].closest("th")
            const rows = [...heading.closest("table").tBodies[0].rows]
            return rows.map((row) => row.cells[heading.cellIndex].innerText)
            """,
            button,
        )

    def order():
        return button.find_element(By.XPATH, "..").get_attribute("aria-sort")

    button.send_keys(Keys.ENTER)
    assert (order(), errors()) == ("ascending", ["0.2100", "0.2300", "0.2500", "0.5000", "–", "–"])
    button.click()
    assert (order(), errors()) == ("descending", ["–", "–", "0.5000", "0.2500", "0.2300", "0.2100"])


def test_report_in_the_dark_and_on_paper(chrome, page):
    def colors():
        """Of the page, the plot's ground, the outline of ReLU's band and its line."""
        return chrome.execute_script(f"""{FIGURES}
            const plot = figures()[0].model
            const glyph = (name) => plot.renderers.find((renderer) => renderer.name == name).glyph
            const page = getComputedStyle(document.body).backgroundColor
            return [page, plot.background_fill_color, glyph("band").line_color?.value ?? null,
                glyph("mean").line_color.value]
        """)

    light = ["rgb(255, 255, 255)", "#ffffff", None, "#000000"]
    dark = ["rgb(20, 24, 29)", "#14181d", None, "#ffffff"]
    open_page(chrome, page.as_uri(), 1280, plots=2)
    assert colors() == light
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": DARK})
    wait(lambda: colors() == dark)
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": DARK})
    wait(lambda: colors() == light)
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_links_of_the_report_lead_to_records(chrome, page):
    open_page(chrome, page.as_uri(), 1280, plots=2)
    links = [a.get_attribute("href") for a in chrome.find_elements(By.CSS_SELECTOR, "td a")]
    assert len(links) == 5, "the missing run has no record"
    for link in links:
        assert Path(urllib.parse.unquote(urllib.parse.urlsplit(link).path), "config.yaml").exists()


def test_every_plot_and_table_has_a_name_for_screen_readers(chrome, page):
    open_page(chrome, page.as_uri(), 1280, plots=2)
    for selector in ("figure", ".scroll"):
        names = [e.get_attribute("aria-label") for e in chrome.find_elements(By.CSS_SELECTOR, selector)]
        assert names
        assert all(names)
    assert chrome.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"


@pytest.fixture(scope="module")
def view(outputs):
    """The address of a live view that a process of its own serves, with the run that is under way."""
    config = evil_config("relu", 0)
    config["lr"] = 0.1
    sweep = outputs / "live"
    configs = [config, {**config, "seed": 1}]
    write_plan(sweep, configs)
    path = write_run(sweep, configs[0], [0.5, 0.625], state="running")
    with RunDirectory(path).lock():
        # A parent in the background may have left Ctrl-C ignored.
        code = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from senet_lab.cli import main; sys.exit(main(sys.argv[1:]))"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, "watch", "name=live", f"outputs={outputs}"],
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdout is not None
            address = server.stdout.readline().split()[0]
            yield address, sweep / directory_of(config)
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=120) == 0


def test_live_view_shows_a_new_epoch_and_a_failure_without_reload(chrome, view):
    address, path = view
    assert address.startswith("http://127.0.0.1:")
    open_page(chrome, address, 1280, plots=1)

    def epochs():
        return chrome.execute_script(f"""{FIGURES}
            const line = figures()[0]?.model.renderers.find((renderer) => renderer.name == "mean")
            return line ? [...line.data_source.data.epoch] : []
        """)

    chrome.execute_script("globalThis.witness = 1")
    assert epochs() == [0, 1]
    add_epoch(path, 0.75)
    wait(lambda: epochs() == [0, 1, 2])
    wait(lambda: point_at(chrome, figure=0, line=0, point=2).get("mean error") == "0.2500")

    item = chrome.execute_script(f"""{FIGURES}
        const legend = figures()[0].model.right.find((model) => model.type == "Legend")
        return Bokeh.index.find_one(legend).el.shadowRoot.querySelector(".bk-item")
    """)
    item.click()
    add_epoch(path, 0.8)
    wait(lambda: epochs() == [0, 1, 2, 3])
    assert not chrome.execute_script(f"{FIGURES}; return figures()[0].model.renderers[0].visible")

    set_status(path, state="failed", error=f"ValueError: {SCRIPT}")
    wait(lambda: f"failed: ValueError: {SCRIPT}" in text(chrome))
    assert chrome.execute_script("return globalThis.witness") == 1
    assert complaints(chrome) == []
    assert {urllib.parse.urlsplit(url).netloc for url in requests(chrome) if "://" in url} == {
        urllib.parse.urlsplit(address).netloc
    }
    assert injected(chrome) == 0


def text(chrome):
    """All that can be read, shadow roots included."""
    return chrome.execute_script("""
        const all = (node) => node.nodeType == Node.TEXT_NODE ? node.data
            : [...(node.shadowRoot?.childNodes ?? []), ...node.childNodes].map(all).join("")
        return all(document.body)
    """)


def test_live_view_sorts_its_table_and_fits_a_phone(chrome, view):
    address, path = view
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": DARK})
    open_page(chrome, address, 390, plots=1)
    wait(lambda: "planned" in text(chrome))
    wait(lambda: fits(chrome, 390))

    heading = chrome.find_element(By.CSS_SELECTOR, "#runs th:nth-child(2) button")

    def states():
        return chrome.execute_script(
            "return [...document.querySelectorAll('#runs tbody tr')].map((row) => row.cells[1].innerText)"
        )

    before = states()
    assert len(before) == 2
    for ordered in (sorted(before), sorted(before, reverse=True)):
        heading.click()
        assert states() == ordered
    set_status(path, state="failed", error="again")  # the table comes anew, and keeps its order
    wait(lambda: "failed: again" in text(chrome))
    assert states() == sorted(states(), reverse=True)
    assert complaints(chrome) == []
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_the_report_in_print_has_a_heading_with_each_figure_and_no_half_empty_pages(chrome, tmp_path):
    sweep = tmp_path / EVIL
    configs = [
        run_config(activation=name, lr=lr, seed=seed)
        for lr in (0.1, 0.01, 0.001, 0.0001)
        for name in STYLES
        for seed in range(2)
    ]
    write_plan(sweep, configs)
    for config in configs:
        write_run(sweep, config, [0.5, 0.6])
    assert report(command(tmp_path, "report")) == 0
    open_page(chrome, (sweep / "report.html").as_uri(), 1280, plots=4)
    sheets = {"preferCSSPageSize": True, "generateTaggedPDF": False}
    pdf = base64.b64decode(chrome.execute_cdp_cmd("Page.printToPDF", sheets)["data"])
    # A figure with its heading and tables takes most of a sheet; the rest fits on two.
    assert len(re.findall(rb"/Type /Page\b", pdf)) <= 4 + 2
