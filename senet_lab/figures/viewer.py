"""The live view's server: one page, and responses shared by all viewers."""

import asyncio
import ipaddress
import logging
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Self
from urllib.parse import urlsplit

import bokeh
from bokeh.resources import Resources
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application, HTTPError, RequestHandler

from senet_lab.errors import UsageError
from senet_lab.figures.live import LiveSweep, Reader
from senet_lab.figures.page import render_live

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
MOST_CONNECTIONS = 256
"""Maximal number of open connections; a browser opens up to six."""
MOST_HEADER_BYTES = 16 * 1024
"""Maximal size of a request, which has no body."""
CONNECTION_SECONDS = 60
"""Seconds after which an idle connection is closed."""
LIBRARY = f"bokeh-{bokeh.__version__}.js"


@dataclass(frozen=True)
class Door:
    """Address and access control of a view.

    A page of another origin cannot read the view: no response has `Access-Control-Allow-Origin`, and requests
    from other origins are refused. So are requests to other host names, which a page may have pointed at this
    machine (DNS rebinding).
    """

    origins: tuple[str, ...]
    """`http://host:port` of each address."""
    token: str
    """First component of every path; empty for a view that only this machine can reach."""

    @classmethod
    def at(cls, address: str, port: int, allowed: Sequence[str]) -> Self:
        """The door of a server.

        Args:
            address: address of the server.
            port: port of the server.
            allowed: further origins, such as a proxy's, as `https://host[:port]`.

        Raises:
            UsageError: an invalid origin.
        """
        for origin in allowed:
            parts = urlsplit(origin)
            known = parts.scheme in ("http", "https") and parts.hostname
            if not known or f"{parts.scheme}://{parts.netloc}" != origin:
                raise UsageError(
                    f"allow_origin={origin}: an origin is http://host:port or https://host[:port]"
                )
        hosts = [socket.gethostname(), *_own_addresses()] if _is(address, "is_unspecified") else [address]
        suffix = "" if port == 80 else f":{port}"
        own = [f"http://{f'[{host}]' if ':' in host else host}{suffix}" for host in hosts]
        is_private = (address == "localhost" or _is(address, "is_loopback")) and not allowed
        return cls((*own, *allowed), "" if is_private else secrets.token_urlsafe(24))

    @property
    def root(self) -> str:
        """Path of the page."""
        return f"/{self.token}/" if self.token else "/"

    def admits(self, host: str, origin: str | None) -> bool:
        """Whether to answer a request with these headers `Host` and `Origin`."""
        hosts = {urlsplit(known).netloc.lower() for known in self.origins}
        try:
            if urlsplit(f"//{host}").hostname not in LOOPBACK_NAMES and host.lower() not in hosts:
                return False
            return origin is None or urlsplit(origin).netloc.lower() in {host.lower(), *hosts}
        except ValueError:  # not an address
            return False


def _is(address: str, kind: str) -> bool:
    """Whether an address is an IP address with this property of `ipaddress`."""
    try:
        return bool(getattr(ipaddress.ip_address(address), kind))
    except ValueError:
        return False


def _own_addresses() -> list[str]:
    """This machine's network addresses, by the routing table; none without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # a documentation address; nothing is sent
        return [probe.getsockname()[0]]
    return []


class _Handler(RequestHandler):
    """Responds to requests that the door admits, under its token."""

    def initialize(self, door: Door, reader: Reader, page: bytes) -> None:
        """See `RequestHandler`."""
        self.door, self.reader, self.page = door, reader, page

    def set_default_headers(self) -> None:
        """See `RequestHandler`."""
        self.clear_header("Server")
        for name, value in self.settings["headers"].items():
            self.set_header(name, value)

    def prepare(self) -> None:
        """Refuse a foreign host or origin."""
        asked = self.request.headers
        if not self.door.admits(asked.get("Host", ""), asked.get("Origin")):
            raise HTTPError(403)

    def get(self, path: str) -> None:
        """Send the page, BokehJS, or the changes since a version."""
        token, _, name = path.rpartition("/")
        if not secrets.compare_digest(token.encode(), self.door.token.encode()):
            raise HTTPError(404)
        if name == "":
            self._send("text/html", self.page)
        elif name == LIBRARY:
            self.set_header("Cache-Control", "max-age=86400")
            self._send("text/javascript", _library())
        elif name == "changes":
            try:
                since = int(self.get_query_argument("since"))
            except ValueError as error:
                raise HTTPError(400) from error
            self._send("application/json", self.reader.ask(since))
        else:
            raise HTTPError(404)

    def _send(self, kind: str, content: bytes) -> None:
        self.set_header("Content-Type", f"{kind}; charset=utf-8")
        self.finish(content)

    def write_error(self, status_code: int, **_: object) -> None:
        """See `RequestHandler`."""
        self._send("text/plain", f"{status_code}: use the address that senet-lab watch printed\n".encode())

    def compute_etag(self) -> None:
        """None: responses rarely repeat."""


class _Server(HTTPServer):
    """An HTTP server with at most `MOST_CONNECTIONS` connections."""

    count = 0

    def handle_stream(self, stream: IOStream, address: tuple) -> None:
        """See `TCPServer`."""
        if self.count == MOST_CONNECTIONS:
            stream.close()
            return
        self.count += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        """See `HTTPServer`."""
        self.count -= 1
        super().on_close(server_conn)


async def serve(live: LiveSweep, listening: socket.socket, door: Door) -> None:
    """Serve a sweep's view at a socket to viewers that `door` admits, until cancelled; closes the socket."""
    logging.getLogger("tornado").setLevel(logging.ERROR)  # do not log invalid requests
    nonce = secrets.token_urlsafe(16)
    lead = (
        "Live view of a sweep, updated while it runs. As text in a terminal: "
        f"senet-lab status {live.sweep.words} watch=true"
    )
    with Reader(live) as reader:
        content = {
            "door": door,
            "reader": reader,
            "page": render_live(live.sweep.name, [lead], LIBRARY, nonce).encode(),
        }
        settings: dict[str, Any] = {"headers": _headers(nonce), "log_function": lambda _: None}
        server = _Server(
            Application([(r"/(.*)", _Handler, content)], **settings),
            max_header_size=MOST_HEADER_BYTES,
            max_body_size=0,
            idle_connection_timeout=CONNECTION_SECONDS,
        )
        listening.setblocking(False)
        server.add_socket(listening)
        try:
            await asyncio.Event().wait()
        finally:
            server.stop()


def _headers(nonce: str) -> dict[str, str]:
    """Security headers of every response: only own scripts, no external resources, no framing."""
    policy = {
        "default-src": "'none'",
        "script-src": f"'nonce-{nonce}' 'unsafe-eval'",  # bokeh compiles the code that formats ticks
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


@cache
def _library() -> bytes:
    """BokehJS, without the bundles that plots do not need."""
    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw).encode()
