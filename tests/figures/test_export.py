"""The page of a figure: what it says, and how it behaves in a browser."""

import re
from html.parser import HTMLParser

import browser
import pytest


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    """A browser that keeps its logs."""
    with browser.chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def page(chrome, drawing, tmp_path):
    """The HTML, opened anew by a reader without wishes."""
    (tmp_path / "figure.html").write_text(drawing.html, "utf-8")
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.open_page(chrome, (tmp_path / "figure.html").as_uri(), width=1280, plots=1)
    return chrome


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
    assert set(References(drawing.html).found) == {"data:,", "#content"}
    assert "@import" not in drawing.html


def test_html_has_the_text_of_the_figure_escaped(drawing):
    assert "<h1>SENet-18 with learning rate 0.001</h1>" in drawing.html
    assert "mean of 3 runs, band: ±1 sample standard deviation" in drawing.html
    assert "Missing: nothing but &lt;b&gt;a note&lt;/b&gt;." in drawing.html
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(<td.*)</tr>", drawing.html)]
    assert cells == [["&lt;i&gt;x&lt;/i&gt;", "0.1235", "3"], ["y", "–", "3"]]
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
    legend = """
        const {model} = Bokeh.index.roots[0]
        return ["right", "below"].map((side) => model[side].filter((part) => part.type === "Legend").length)
    """
    browser.wait(lambda: page.execute_script(legend) == [0, 1])


@pytest.mark.browser
def test_html_is_dark_where_the_reader_wants_it_dark(page):
    def grounds():
        return page.execute_script("""
            const plot = Bokeh.index.roots[0].model
            return [getComputedStyle(document.body).backgroundColor, plot.background_fill_color]
        """)

    assert grounds() == ["rgb(255, 255, 255)", "#ffffff"]
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    browser.wait(lambda: grounds() == ["rgb(20, 24, 29)", "#14181d"])


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
