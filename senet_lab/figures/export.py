"""Charts to files: HTML that needs nothing else, PNG and SVG through one headless Chromium."""

import base64
import ctypes
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from bokeh.embed import file_html, json_item
from bokeh.resources import INLINE
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import ChromeOptions, ChromeService, Remote
from selenium.webdriver.chrome.remote_connection import ChromeRemoteConnection
from selenium.webdriver.common.proxy import Proxy, ProxyType
from selenium.webdriver.remote.client_config import ClientConfig
from urllib3.exceptions import HTTPError

from senet_lab.figures.charts import TOOLTIPS, chartify, make_interactive

SCALE = 2
"""PNG pixels for each CSS pixel: sharp in print."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # Chromium refuses to start as root otherwise; the one page it opens is ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",  # a pipe closes when chromedriver dies, and Chromium ends with it
)
LONGEST_FOLDER = 30
"""Bytes of a temporary folder's name, so that what Chromium adds to its socket's stays within 108."""

PAGE = """
{% block preamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  body { font: 14px/1.4 helvetica, arial, sans-serif; color: #333; background: white; }
  main { max-width: 1200px; margin: 0 auto; padding: 1em; }
  h1 { font-size: 1.7em; margin: 0; }
  figure { margin: 1em 0; }
  table { border-collapse: collapse; }
  th, td { padding: 0.2em 1em 0.2em 0; text-align: right; }
  th:first-child, td:first-child { text-align: left; }
  .values { overflow-x: auto; }
</style>
{% endblock %}
{% block contents %}
<main>
  <h1>{{ title | e }}</h1>
  <p>{{ subtitle | e }}</p>
  {% if notes %}
  <ul>{% for note in notes %}<li>{{ note | e }}</li>{% endfor %}</ul>
  {% endif %}
  <figure aria-label="{{ title | e }}; table below: {{ caption | e }}">{{ super() }}</figure>
  <details class="values">
    <summary>{{ caption | e }}</summary>
    <table>
      <tr>{% for column in table.columns %}<th scope="col">{{ column | e }}</th>{% endfor %}</tr>
      {% for row in table.rows %}
      <tr>{% for cell in row %}<td>{{ cell | e }}</td>{% endfor %}</tr>
      {% endfor %}
    </table>
  </details>
</main>
{% endblock %}
"""

RENDER = """
const [item, done] = arguments
const nextFrame = () => new Promise(requestAnimationFrame)
globalThis.previous?.clear()
document.body.replaceChildren(document.createElement("div"))
Bokeh.embed.embed_item(JSON.parse(item), document.body.firstChild).then(async (views) => {
  globalThis.previous = views
  const [view] = views
  const drawing = view.model.document
  if (!drawing.is_idle)
    await new Promise((resolve) => drawing.idle.connect(resolve))
  // Bokeh lays an SVG legend out before it has sized the swatches, so lay out again once they are painted.
  await nextFrame()
  await nextFrame()
  view.invalidate_layout()
  await nextFrame()
  await nextFrame()
  done({svg: view.export("svg").ctx.get_serialized_svg(true)})
}).catch((error) => done({error: String(error)}))
"""


class BrowserError(Exception):
    """The browser did not do its work: one line that says what happened."""


@dataclass(frozen=True)
class Drawing:
    """A chart in the two forms that are written."""

    html: str
    item: str
    """The printed form as JSON text: bokeh needs the keys in their order, which chromedriver would sort."""
    width: int
    height: int
    """CSS pixels."""


Render = Callable[[Drawing], tuple[str, bytes]]
"""From a drawing to its SVG and its PNG."""


def compile_chart(
    chart: chartify.Chart,
    notes: Sequence[str],
    table: pd.DataFrame,
    tooltips: Sequence[tuple[str, str]] = TOOLTIPS,
    caption: str = "Values at the last epoch",
) -> Drawing:
    """Freeze a chart into its printed and its interactive form.

    Args:
        chart: as `charts.draw` makes it; interactive afterwards.
        notes: sentences that the page shows above the chart.
        table: values that the page shows below the chart.
        tooltips: see `make_interactive`.
        caption: what the table holds.
    """
    plot = chart.figure
    item, width, height = json.dumps(json_item(plot)), plot.width, plot.height
    make_interactive(chart, tooltips)
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    text = {
        "subtitle": chart.subtitle,
        "notes": notes,
        "caption": caption,
        "table": {"columns": list(table.columns), "rows": rows},
    }
    html = file_html(plot, resources=INLINE, title=chart.title, template=PAGE, template_variables=text)
    return Drawing(html, item, width, height)


def _cell(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def find_chromium() -> tuple[str, str] | None:
    """The paths of Chromium and of its driver; None where either is not installed."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextmanager
def headless_chromium(browser: str, driver: str, limit: float = 60.0) -> Iterator[Render]:
    """A browser that renders one drawing after another to SVG with real text and PNG at `SCALE`.

    Whatever happens, its processes are gone afterwards: they are one process group, which is killed,
    and the kernel ends them with this process should that be killed.

    Args:
        browser: path of Chromium, as `find_chromium` gives it.
        driver: path of chromedriver.
        limit: seconds after which starting, or one drawing, counts as hanging.

    Raises:
        BrowserError: the browser did not start, died, hung, or reported an error.
    """
    with tempfile.TemporaryDirectory(
        prefix="senet-lab-", dir=_short_folder(), ignore_cleanup_errors=True
    ) as folder:
        options = ChromeOptions()
        options.binary_location = browser
        for flag in (*FLAGS, f"--user-data-dir={folder}/profile"):
            options.add_argument(flag)
        # Started here, so that selenium never looks for a driver to download.
        service = ChromeService(
            executable_path=driver,
            env={**os.environ, "HOME": folder, "TMPDIR": folder},
            popen_kw={"start_new_session": True, "preexec_fn": _die_with_parent},
        )
        page = Path(folder, "page.html")
        head = f'<!DOCTYPE html><meta charset="utf-8">{INLINE.render()}'
        page.write_text(f'{head}<body style="margin: 0">', "utf-8")

        def render(drawing: Drawing) -> tuple[str, bytes]:
            size = {"width": drawing.width, "height": drawing.height, "deviceScaleFactor": SCALE}
            with _limited(service, limit):
                chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**size, "mobile": False})
                result = chrome.execute_async_script(RENDER, drawing.item)
                png = chrome.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
            if "error" in result:
                raise BrowserError(result["error"])
            return result["svg"], base64.b64decode(png["data"])

        try:
            with _limited(service, limit):
                service.start()
                direct = Proxy({"proxyType": ProxyType.DIRECT})  # the driver is on this machine
                client = ClientConfig(service.service_url, proxy=direct)
                connection = ChromeRemoteConnection(service.service_url, client_config=client)
                chrome = Remote(connection, options=options)
                chrome.set_script_timeout(limit)
                chrome.get(page.as_uri())
            yield render
        finally:
            _kill(service)


def _short_folder() -> str:
    """The folder for temporary files, unless its name is so long that Chromium could not open its socket."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= LONGEST_FOLDER else "/tmp"


@contextmanager
def _limited(service: ChromeService, limit: float) -> Iterator[None]:
    """Kill the browser when the body takes longer than `limit` seconds; its errors become `BrowserError`."""
    deadline = time.monotonic() + limit
    watchdog = threading.Timer(limit, _kill, [service])
    watchdog.start()
    try:
        yield
    except (WebDriverException, HTTPError, OSError) as error:
        late = time.monotonic() >= deadline
        reason = f"no answer in {limit:g} s" if late else str(error).partition("\n")[0]
        raise BrowserError(reason) from error
    finally:
        watchdog.cancel()


def _kill(service: ChromeService) -> None:
    process = getattr(service, "process", None)
    if process is not None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _die_with_parent() -> None:
    """Linux: have the kernel kill this child when its parent dies, however it dies."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
