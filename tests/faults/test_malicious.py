"""Input that wants more than to be read: refused, with proof that nothing ran and nothing was written."""

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from support import tiny
from sweeps import start, statuses, sweep

from senet_lab.cli import main
from senet_lab.records.plan import config_hash

BOMB = "\n".join(
    ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))]
)
RELU = "_target_: torch.nn.ReLU\nname: mine\nlabel: Mine\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (RELU + "extra: !!python/object/apply:os.mkdir [ran]", "is not plain YAML: could not determine"),
        (RELU + "extra: !!python/name:os.system", "is not plain YAML"),
        (RELU + BOMB, "YAML aliases are not allowed"),
        (RELU.replace("torch.nn.ReLU", "os.system"), "must name a class in one of"),
        (RELU.replace("torch.nn.ReLU", "os.mkdir") + "path: ran", "must name a class in one of"),
        (
            RELU.replace("torch.nn.ReLU", "torch.nn.modules.module.warnings.sys.exit"),
            "there is no such class",
        ),
        (RELU + "inplace: {_target_: os.mkdir, path: ran}", "must name a class in one of"),
        (RELU.replace("mine", "../../mine"), "activation.name must be one folder name"),
        (RELU + 'extra: "${oc.env:HOME}"\n\x00', "is not plain YAML"),
    ],
)
def test_yaml(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    content: str,
    message: str,
) -> None:
    file = tmp_path / "conf/activation/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    monkeypatch.chdir(tmp_path)
    assert main(["train", *tiny(tmp_path), "--config-dir", "conf", "activation=mine"]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.rglob("runs"))


@pytest.mark.parametrize("what", ["a pipe", "a link to /dev/zero", "a large file"])
def test_an_option_that_is_no_small_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    folder = tmp_path / "conf/activation"
    folder.mkdir(parents=True)
    option = folder / "mine.yaml"
    if what == "a pipe":
        os.mkfifo(option)
    elif what == "a large file":
        option.write_text(RELU + "#" * 2**20)
    else:
        option.symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)
    line = ["train", *tiny(tmp_path), "--config-dir", "conf"]
    for chosen in (["activation=mine"], ["-m", "activation=relu,mine"]):
        assert main([*line, *chosen]) == 2
        error = capfd.readouterr().err
        assert ("more than 1,048,576 are not read" in error) is (what == "a large file")
        assert error.count("\n") == 1
    assert not list(tmp_path.rglob("runs"))
    if what != "a large file":  # not chosen, it is in nobody's way
        assert main([*line, "activation=relu", "epochs=1"]) == 0


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "x" * 300, "'a\0b'", "'a\nb'", "..", "'~'/x", "caf\udce9"]
)
def test_names(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    before = sorted(tmp_path.parent.iterdir())
    assert main(["train", *tiny(tmp_path), f"name={name}"]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert sorted(tmp_path.parent.iterdir()) == before
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("link", ["default", "default/runs", "default/runs/resnet18"])
def test_symbolic_links_out_of_the_tree(tmp_path: Path, capfd: pytest.CaptureFixture[str], link: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = tmp_path / "outputs" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(elsewhere)
    assert main(sweep(tmp_path)) == 2
    assert "leads out of" in capfd.readouterr().err
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("verb", ["status", "train"])
def test_a_link_to_itself_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], verb: str) -> None:
    (tmp_path / "outputs").symlink_to("outputs")
    assert main([verb, f"outputs={tmp_path / 'outputs'}"]) == 2
    assert "Too many levels of symbolic links" in capfd.readouterr().err


def test_a_link_to_the_whole_of_outputs_is_the_persons_own(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "outputs").symlink_to(tmp_path / "large disk")
    assert main(sweep(tmp_path)) == 0


def test_a_plan_from_elsewhere(tmp_path: Path, outputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A plan is a file that anybody may have written: what it names is checked as if typed."""
    main(sweep(tmp_path, "seed=0"))
    plan = json.loads((outputs / "plan.json").read_text())
    (run,) = plan["runs"]
    run["directory"] = run["directory"].replace("seed=0", "seed=1")
    run["plain"]["activation"] |= {"_target_": "os.mkdir", "path": str(tmp_path / "ran")}
    run["hash"] = config_hash(run["plain"])
    plan["runs"] = [run]
    (outputs / "plan.json").write_text(json.dumps(plan))
    command = run["command"]
    assert "seed=0" in command
    assert main(sweep(tmp_path, "seed=0")) == 1
    assert "must name a class in one of" in statuses(tmp_path)["seed=1"]["error"]
    assert not (tmp_path / "ran").exists()


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (20 * 2**30, resource.RLIM_INFINITY))


def test_a_record_that_would_not_fit_in_memory(tmp_path: Path, outputs: Path) -> None:
    main(sweep(tmp_path, "seed=0"))
    next(outputs.rglob("config.yaml")).write_text(BOMB)
    (outputs / "plan.json").unlink()
    log = tmp_path / "log.txt"
    process: Any = start(["plot", f"outputs={tmp_path / 'outputs'}", "formats=[html]"], log, limit_memory)
    process.join()
    assert process.exitcode == 2
    assert "YAML aliases are not allowed" in log.read_text()
