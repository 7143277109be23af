"""Where the live view listens, and which addresses it prints; who is answered there is tested elsewhere."""

import socket

import pytest
from records_on_disk import run_config, write_plan

from senet_lab.commands.watch import watch
from senet_lab.composition.command import compose_command
from senet_lab.errors import UsageError
from senet_lab.figures.viewer import Door


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("127.0.0.1", "http://127.0.0.1:5006"),
        ("127.1.2.3", "http://127.1.2.3:5006"),
        ("localhost", "http://localhost:5006"),
        ("::1", "http://[::1]:5006"),
    ],
)
def test_this_machine_alone_needs_no_token(address, origin):
    door = Door.at(address, 5006, [])
    assert (door.origins, door.root) == ((origin,), "/")


@pytest.mark.parametrize("address", ["192.0.2.1", "fd00::1", "lab"])
def test_other_addresses_have_a_token(address):
    door = Door.at(address, 80, [])
    assert door.origins == (f"http://{f'[{address}]' if ':' in address else address}",)
    assert door.root == f"/{door.token}/" != "//"


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_every_address_is_this_machines_name_and_number(address):
    origins = Door.at(address, 5006, []).origins
    assert origins[0] == f"http://{socket.gethostname()}:5006"
    assert not any("0.0.0.0" in origin or "[::]" in origin for origin in origins)


def run_watch(outputs, *overrides):
    return watch(compose_command("watch", ["name=sweep", f"outputs={outputs}", *overrides]))


def test_bad_input(tmp_path):
    with pytest.raises(UsageError, match=r"plan\.json does not exist"):
        run_watch(tmp_path)
    write_plan(tmp_path / "sweep", [run_config()])
    with pytest.raises(UsageError, match="port=70000"):
        run_watch(tmp_path, "port=70000")
    with pytest.raises(UsageError, match="cannot listen there"):
        run_watch(tmp_path, "address=192.0.2.1")
    with pytest.raises(UsageError, match="allow_origin=lab"):
        run_watch(tmp_path, "allow_origin=[lab]")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="cannot listen there"):
            run_watch(tmp_path, f"port={taken.getsockname()[1]}")
