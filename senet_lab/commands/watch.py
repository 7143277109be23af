"""`senet-lab watch`: show a sweep's figures and states live in the browser."""

import socket

from senet_lab.composition.command import Command
from senet_lab.config import WatchConfig
from senet_lab.errors import UsageError
from senet_lab.records.figures import planned_config
from senet_lab.records.sweep import sweep_directory


def watch(command: Command) -> int:
    """Serve the live view until Ctrl-C; it reads records and writes nothing.

    Raises:
        UsageError: no plan, no selected run, an unavailable address or port, or an invalid origin.
    """
    # Imported late: bokeh and chartify take a second.
    import asyncio
    from contextlib import suppress

    from senet_lab.figures.live import LiveSweep
    from senet_lab.figures.viewer import Door, serve

    sweep = sweep_directory(command.config.outputs, command.config.name)
    config: WatchConfig = planned_config(command, sweep)
    live = LiveSweep(sweep, config.figures, config.band, command.selection)
    with _listening(config) as listening:
        door = Door.at(config.address, listening.getsockname()[1], config.allow_origin)
        for origin in door.origins:
            print(f"{origin}{door.root}")
        if door.token:
            print("Anyone with one of these addresses can read the sweep.")
        print("Ctrl-C ends the view, not the sweep.", flush=True)
        with suppress(KeyboardInterrupt):
            asyncio.run(serve(live, listening, door))
    return 0


def _listening(config: WatchConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.address else socket.AF_INET
    try:
        return socket.create_server((config.address, config.port), family=family)
    except OSError as error:
        where = f"address={config.address} port={config.port}"
        raise UsageError(f"{where}: cannot listen there: {error.strerror or error}") from error
