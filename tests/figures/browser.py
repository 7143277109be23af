"""A real Chromium for tests of pages: what it logs, what it asks for, and how it is used."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.action_chains import ActionChains

from senet_lab.figures.browser import FLAGS, find_chromium


@contextmanager
def chromium(folder: Path) -> Iterator[Chrome]:
    """A headless Chromium that keeps its logs and lives in `folder`."""
    found = find_chromium()
    assert found, "these tests need Chromium: apt-get install chromium chromium-driver"
    options = ChromeOptions()
    options.binary_location = found[0]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={folder}/profile"):
        options.add_argument(flag)
    chrome = Chrome(options=options, service=ChromeService(found[1], env={**os.environ, "HOME": str(folder)}))
    try:
        yield chrome
    finally:
        chrome.quit()


def open_page(chrome: Chrome, url: str, width: int, plots: int) -> None:
    """Load a page at a width and wait until so many plots are painted."""
    for log in ("browser", "performance"):
        chrome.get_log(log)  # forget what was before
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    chrome.get(url)
    wait(lambda: chrome.execute_script(f"{FIGURES}; return figures().length") >= plots)
    wait(lambda: chrome.execute_script("return Bokeh.documents.every((doc) => doc.is_idle)"))


FIGURES = """
const views = (view) => [view, ...[...(view.children?.() ?? [])].flatMap(views)]
const figures = () => [...Bokeh.index].flatMap(views).filter((view) => view.model.type === "Figure")
"""


def wait(condition: Callable[[], Any], seconds: float = 120) -> None:
    """Until `condition` holds. The limit only ends what hangs: for what a test waits stays so once it is."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the page did not get there in time"
        time.sleep(0.1)


def complaints(chrome: Chrome) -> list[str]:
    """Errors and warnings in the console since the page was opened."""
    return [e["message"] for e in chrome.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]


def requests(chrome: Chrome) -> set[str]:
    """Scheme and host of all that was asked for since the page was opened."""
    messages = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    urls += [m["params"]["url"] for m in messages if m["method"] == "Network.webSocketCreated"]
    return {
        url.partition("?")[0] if url.startswith(("http", "ws")) else url.partition(":")[0] for url in urls
    }


def point_at(chrome: Chrome, figure: int, line: int, point: int) -> dict[str, str]:
    """Move the mouse to a point of a mean curve; the tooltip so far, so `wait` and point again."""
    x, y = chrome.execute_script(f"""{FIGURES}
        const view = figures()[{figure}]
        view.el.scrollIntoView({{block: "center"}})
        const line = view.model.renderers.filter((renderer) => renderer.name == "mean")[{line}]
        const {{epoch, mean}} = line.data_source.data
        const {{x, y}} = view.el.getBoundingClientRect()
        return [x + view.frame.x_scale.compute(epoch[{point}]), y + view.frame.y_scale.compute(mean[{point}])]
    """)
    pointer = ActionChains(chrome)
    pointer.w3c_actions.pointer_action.move_to_location(int(x), int(y))
    pointer.perform()
    return tooltip(chrome)


def tooltip(chrome: Chrome) -> dict[str, str]:
    """What the tooltip that is shown says."""
    text = chrome.execute_script("""
        const texts = (node) => [...node.querySelectorAll("*")].flatMap((child) =>
            child.shadowRoot ? [...texts(child.shadowRoot)]
            : child.matches(".bk-tooltip-row-label, .bk-tooltip-row-value") ? [child.innerText] : [])
        return texts(document)
    """)
    return dict(zip([name.rstrip(": ") for name in text[::2]], text[1::2], strict=True))
