"""The live view's server by real connections: who is answered, with what, and at what cost."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from html import unescape

import pytest
from records_on_disk import TEMPLATES, run_config, write_plan, write_run
from test_live import draw

from senet_lab.config import Band
from senet_lab.errors import UsageError
from senet_lab.figures import viewer
from senet_lab.figures.live import LiveSweep
from senet_lab.figures.viewer import LIBRARY, Door, serve
from senet_lab.records.sweep import SweepDirectory


@pytest.fixture
def live(tmp_path):
    configs = [run_config(seed=seed, lr=lr) for lr in (0.1, 0.001) for seed in range(2)]
    write_plan(tmp_path, configs)
    for config in configs:
        write_run(tmp_path, config, [0.5, 0.6, 0.7])
    sweep = LiveSweep(SweepDirectory(tmp_path), TEMPLATES, Band.std)
    draw(sweep)
    return sweep


@contextmanager
def served(live: LiveSweep, address: str = "127.0.0.1", allowed: tuple[str, ...] = ()) -> Iterator[Door]:
    """A server in a thread of its own; it listens on the loopback whatever `address` its door has."""
    listener = socket.create_server(("127.0.0.1", 0))
    door = Door.at(address, listener.getsockname()[1], allowed)
    loop = asyncio.new_event_loop()
    task = loop.create_task(serve(live, listener, door))

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield door
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()


def port_of(door: Door) -> int:
    return int(door.origins[0].rpartition(":")[2])


def ask(
    door: Door, path: str, method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, str]:
    """Status and text of an answer."""
    with connected(door) as connection:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Server" not in response.headers
        return response.status, response.read().decode()


def connected(door: Door) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection("127.0.0.1", port_of(door), timeout=60))


def test_the_page_and_its_parts(live):
    with served(live) as door:
        assert door.token == ""
        status, page = ask(door, "/")
        assert status == 200
        assert f'src="{LIBRARY}"' in page
        folder = live.sweep.path
        assert f"senet-lab status name={folder.name} outputs={folder.parent} watch=true" in unescape(page)
        assert ask(door, f"/{LIBRARY}")[0] == 200
        changes = json.loads(ask(door, "/changes?since=-1")[1])
        assert [part["key"] for part in changes["parts"]] == changes["keys"]
        assert json.loads(ask(door, f"/changes?since={changes['version']}")[1])["parts"] == []
        for since in ("", "x", "1e3", "9" * 5000):
            assert ask(door, f"/changes?since={since}")[0] == 400
        assert ask(door, "/changes")[0] == 400


@pytest.mark.parametrize("path", ["/autoload.js", "/ws", "/static/js/bokeh.js", "/../plan.json"])
def test_nothing_else_is_served(live, path):
    with served(live) as door:
        assert ask(door, path)[0] == 404


def test_a_name_that_was_pointed_at_this_machine_is_refused(live):
    with served(live) as door:
        port = port_of(door)
        for host in (f"evil.example:{port}", "evil.example", f"127.0.0.1.evil.example:{port}", "[", ""):
            assert ask(door, "/changes?since=-1", Host=host)[0] in (400, 403), host
        for host in (f"localhost:{port}", f"[::1]:{port}", "localhost:8080"):  # the last one: a tunnel's
            assert ask(door, "/changes?since=-1", Host=host)[0] == 200, host


def test_a_page_of_another_origin_is_refused(live):
    with served(live) as door:
        for origin in ("http://evil.example", "null", f"http://evil.example:{port_of(door)}", "http://[", ""):
            assert ask(door, "/changes?since=-1", Origin=origin)[0] == 403, origin
        assert ask(door, "/changes?since=-1", Origin=door.origins[0])[0] == 200


def test_beyond_this_machine_a_token_is_needed(live):
    with served(live, address="0.0.0.0") as door:
        assert len(door.token) >= 32
        assert ask(door, door.root)[0] == 200
        assert ask(door, f"{door.root}changes?since=-1")[0] == 200
        for token in ("", "x", f"{door.token}x", door.token[:-1], "%C3%BC"):
            path = f"/{token}/changes?since=-1"
            status, text = ask(door, path)
            assert status == 404, path
            assert "ReLU" not in text
        with served(live, address="0.0.0.0") as other:
            assert other.token != door.token


def test_a_proxy_that_is_allowed(live):
    with served(live, allowed=("https://lab.example.org",)) as door:
        assert door.token, "a proxy opens the view to others"
        path = f"{door.root}changes?since=-1"
        assert ask(door, path, Host="lab.example.org", Origin="https://lab.example.org")[0] == 200
        assert ask(door, path, Host=f"localhost:{port_of(door)}", Origin="https://lab.example.org")[0] == 200
        assert ask(door, path, Host="other.example.org")[0] == 403


@pytest.mark.parametrize(
    "origin", ["lab.example.org", "https://lab.example.org/", "ftp://lab", "*", "https://"]
)
def test_an_origin_that_is_none(origin):
    with pytest.raises(UsageError, match="an origin is http://host:port or https"):
        Door.at("127.0.0.1", 80, [origin])


def test_requests_are_bounded(live):
    with served(live) as door:
        assert ask(door, "/", body="x" * 10)[0] == 400
        assert ask(door, "/", "POST")[0] == 405
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            ask(door, "/", Cookie="x" * viewer.MOST_HEADER_BYTES)
        assert ask(door, "/")[0] == 200


def test_connections_are_bounded_and_given_back(live, monkeypatch):
    monkeypatch.setattr(viewer, "MOST_CONNECTIONS", 3)
    with served(live) as door:
        held = [socket.create_connection(("127.0.0.1", port_of(door))) for _ in range(3)]
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            ask(door, "/")
        held[0].close()
        while True:  # until the server has noticed
            with suppress(http.client.BadStatusLine, ConnectionError):
                assert ask(door, "/")[0] == 200
                break
        for connection in held:
            connection.close()


def test_sixty_openings_are_one_drawing(live, monkeypatch):
    drawn = []
    monkeypatch.setattr(LiveSweep, "draw_next", lambda self: drawn.append(self.sweep))

    def open_view(_: int) -> list[tuple[int, str]]:
        return [ask(door, path) for path in ("/", f"/{LIBRARY}", "/changes?since=-1")]

    with served(live) as door, ThreadPoolExecutor(60) as viewers:
        answers = list(viewers.map(open_view, range(60)))
    assert all(answer == answers[0] for answer in answers)
    assert [status for status, _ in answers[0]] == [200] * 3
    assert len(drawn) <= 1, "a poll, at most"


def test_scripts_of_a_record_would_not_run(live):
    with served(live) as door, connected(door) as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        assert "unsafe-inline" not in policy["script-src"]
        nonce = policy["script-src"].split("'")[1].removeprefix("nonce-")
        page = response.read().decode()
        assert page.count("<script") == page.count(f'nonce="{nonce}"') == 4
