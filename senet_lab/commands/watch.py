"""`senet-lab watch`: a sweep's figures and states in the browser, growing while it runs."""

import ipaddress
import socket
from collections.abc import Sequence
from contextlib import suppress

from senet_lab.compose import Command
from senet_lab.config import WatchConfig
from senet_lab.errors import UsageError
from senet_lab.figures.sweep import templates_of
from senet_lab.records.sweep import sweep_directory

POLL_MILLISECONDS = 1000
"""Between two looks at the records."""


def watch(command: Command, arguments: Sequence[str]) -> int:  # noqa: ARG001
    """Serve the live view until Ctrl-C; it reads records and writes nothing.

    Raises:
        UsageError: no plan, or an address or port that cannot be had.
    """
    # Here, because bokeh and chartify take a second to import, and other verbs should not wait for it.
    from bokeh.application import Application
    from bokeh.application.handlers import FunctionHandler
    from bokeh.server.server import BaseServer
    from bokeh.server.tornado import BokehTornado
    from tornado.httpserver import HTTPServer
    from tornado.ioloop import IOLoop, PeriodicCallback
    from tornado.netutil import bind_sockets

    from senet_lab.figures.live import LiveSweep, application

    config: WatchConfig = command.config
    live = LiveSweep(sweep_directory(config.outputs, config.name), templates_of(command), config.band)
    try:
        sockets = bind_sockets(config.port, config.address)
    except OSError as error:
        where = f"address={config.address} port={config.port}"
        raise UsageError(f"{where}: cannot listen there: {error.strerror or error}") from error
    port = sockets[0].getsockname()[1]
    loop = IOLoop.current()
    pages = {"/": Application(FunctionHandler(application(live)))}
    tornado = BokehTornado(pages, extra_websocket_origins=_origins(config.address, port))
    http = HTTPServer(tornado)
    http.add_sockets(sockets)
    BaseServer(loop, tornado, http).start()
    PeriodicCallback(live.poll, POLL_MILLISECONDS).start()
    print(_where(config.address, port), flush=True)
    with suppress(KeyboardInterrupt):
        loop.start()
    return 0


def _is_loopback(address: str) -> bool:
    return address == "localhost" or (_ip(address) is not None and ipaddress.ip_address(address).is_loopback)


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None


def _origins(address: str, port: int) -> list[str]:
    """Which pages may open the view's websocket: this one, and where it is open to all, any."""
    if _is_loopback(address):
        return [f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"]
    ip = _ip(address)
    return ["*"] if ip is not None and ip.is_unspecified else [f"{address}:{port}"]


def _where(address: str, port: int) -> str:
    ip = _ip(address)
    host = socket.gethostname() if ip is not None and ip.is_unspecified else address
    text = f"http://{f'[{host}]' if ':' in host else host}:{port}/  (Ctrl-C ends the view, not the sweep)"
    if _is_loopback(address):
        return text
    return f"{text}\nThis view has no password: whoever reaches this address can read the sweep."
