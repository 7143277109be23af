"""Rendering of drawings to PNG, SVG and PDF by a headless Chromium."""

import base64
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bokeh.resources import INLINE
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import ChromeOptions, ChromeService, Remote
from selenium.webdriver.chrome.remote_connection import ChromeRemoteConnection
from selenium.webdriver.common.proxy import Proxy, ProxyType
from selenium.webdriver.remote.client_config import ClientConfig
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from senet_lab.figures.export import Drawing

SCALE = 2
"""PNG pixels per CSS pixel: sharp in print."""
PIXELS_PER_INCH = 96
"""CSS pixels per inch."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVERS = ("chromedriver",)
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
"""Maximal length, bytes, of a temporary folder's name: Chromium's socket path below it is limited to 108."""

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
    """The browser failed; the message is one line with the cause."""


Render = Callable[["Drawing", Collection[str]], dict[str, bytes]]
"""Maps a drawing and formats (`png`, `svg`, `pdf`) to the files' contents by format."""


def find_chromium() -> tuple[str, str] | None:
    """The paths of Chromium and its driver; None if either is not installed."""
    browser, driver = find_program(BROWSERS), find_program(DRIVERS)
    return (browser, driver) if browser and driver else None


def find_program(names: Sequence[str]) -> str | None:
    """The path of the first of these programs that is installed."""
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def headless_chromium(browser: str, driver: str, limit: float = 60.0) -> Iterator[Render]:
    """Within, a browser that renders drawings: SVG and PDF with vectors and real text, PNG at `SCALE`.

    Its processes always end with the context: they form one process group, which is killed, and the kernel
    kills them if this process dies.

    Args:
        browser: path of Chromium; see `find_chromium`.
        driver: path of chromedriver.
        limit: seconds after which starting, or one drawing, counts as hanging.

    Raises:
        BrowserError: the browser did not start, died, hung, or reported an error.
    """
    with tempfile.TemporaryDirectory(
        prefix="senet-lab-", dir=_short_folder(), ignore_cleanup_errors=True
    ) as folder:
        page = _empty_page(Path(folder))
        service = _service(driver, folder)
        try:
            with _limited(service, limit):
                chrome = _start(service, _options(browser, folder))
                chrome.set_script_timeout(limit)
                chrome.get(page.as_uri())

            def render(drawing: "Drawing", formats: Collection[str]) -> dict[str, bytes]:
                with _limited(service, limit):
                    return _rendered(chrome, drawing, formats)

            yield render
        finally:
            _kill(service)


def _service(driver: str, folder: str) -> ChromeService:
    """The driver as a process, not yet started; given its path, selenium never looks for one to download."""
    return ChromeService(
        executable_path=driver,
        env={**os.environ, "HOME": folder, "TMPDIR": folder},
        popen_kw={"start_new_session": True, "preexec_fn": _die_with_parent},
    )


def _start(service: ChromeService, options: ChromeOptions) -> Remote:
    """Start the driver and, through it, the browser."""
    service.start()
    direct = Proxy({"proxyType": ProxyType.DIRECT})  # the driver is on this machine
    client = ClientConfig(service.service_url, proxy=direct)
    return Remote(ChromeRemoteConnection(service.service_url, client_config=client), options=options)


def _rendered(chrome: Remote, drawing: "Drawing", formats: Collection[str]) -> dict[str, bytes]:
    """See `Render`."""
    size = {"width": drawing.width, "height": drawing.height, "deviceScaleFactor": SCALE}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**size, "mobile": False})
    result = chrome.execute_async_script(RENDER, drawing.item)
    if "error" in result:
        raise BrowserError(result["error"])
    files = {"svg": result["svg"].encode()}
    if "png" in formats:
        shot = chrome.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        files["png"] = base64.b64decode(shot["data"])
    if "pdf" in formats:
        sheet = chrome.execute_cdp_cmd("Page.printToPDF", _sheet(drawing))
        files["pdf"] = base64.b64decode(sheet["data"])
    return {form: files[form] for form in formats}


def _empty_page(folder: Path) -> Path:
    page = folder / "page.html"
    head = f'<!DOCTYPE html><meta charset="utf-8">{INLINE.render()}'
    page.write_text(f'{head}<body style="margin: 0">', "utf-8")
    return page


def _options(browser: str, folder: str) -> ChromeOptions:
    options = ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={folder}/profile"):
        options.add_argument(flag)
    return options


def _sheet(drawing: "Drawing") -> dict[str, Any]:
    """Print settings for a drawing on one sheet of its own size."""
    margins = dict.fromkeys(("marginTop", "marginBottom", "marginLeft", "marginRight"), 0)
    return {
        "paperWidth": drawing.width / PIXELS_PER_INCH,
        "paperHeight": drawing.height / PIXELS_PER_INCH,
        "pageRanges": "1",
        "printBackground": True,
        **margins,
    }


def _short_folder() -> str:
    """A folder for temporary files with a name short enough for Chromium's socket."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= LONGEST_FOLDER else "/tmp"


@contextmanager
def _limited(service: ChromeService, limit: float) -> Iterator[None]:
    """Kill the browser if the body takes longer than `limit` seconds; its errors become `BrowserError`."""
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
    """Linux: have the kernel kill this child when its parent dies."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
