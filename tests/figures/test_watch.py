"""Where the live view listens, and who may look; what it shows is tested in a browser."""

import socket

import pytest
from records_on_disk import run_config, write_plan

from senet_lab.commands.watch import _origins, _where, watch
from senet_lab.compose import compose_command
from senet_lab.errors import UsageError


def test_this_machine_alone_needs_no_warning():
    text = _where("127.0.0.1", 5006)
    assert text.startswith("http://127.0.0.1:5006/ ")
    assert "password" not in text
    assert "evil.example:5006" not in _origins("127.0.0.1", 5006)


def test_other_addresses_are_told_to_have_no_password():
    text = _where("0.0.0.0", 5006)
    assert text.startswith(f"http://{socket.gethostname()}:5006/ ")
    assert "no password" in text
    assert _where("::1", 80).startswith("http://[::1]:80/ ")
    assert "no password" in _where("fd00::1", 80)
    assert _origins("192.0.2.1", 80) == ["192.0.2.1:80"]


def run_watch(outputs, *overrides):
    return watch(compose_command("watch", ["name=sweep", f"outputs={outputs}", *overrides]), [])


def test_bad_input(tmp_path):
    with pytest.raises(UsageError, match=r"plan\.json does not exist"):
        run_watch(tmp_path)
    write_plan(tmp_path / "sweep", [run_config()])
    with pytest.raises(UsageError, match="port=70000"):
        run_watch(tmp_path, "port=70000")
    with pytest.raises(UsageError, match="cannot listen there"):
        run_watch(tmp_path, "address=192.0.2.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="cannot listen there"):
            run_watch(tmp_path, f"port={taken.getsockname()[1]}")
