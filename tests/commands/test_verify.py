"""Records that were changed after their run ended: `verify` says where, and no verb takes them for whole."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from protocols import arguments_of, requests

import senet_lab as sl
from senet_lab.cli import main
from senet_lab.commands.finals import tell_results
from senet_lab.composition.command import compose_command
from senet_lab.records.plan import config_hash, require_plan
from senet_lab.records.run import RunDirectory
from senet_lab.records.survey import Survey
from senet_lab.records.sweep import SweepDirectory

SWEEPS = Path(__file__).parents[1] / "records" / "sweeps"
RUN = "runs/resnet18/tact/lr=0.001/seed=0"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A copy of a small sweep, whose status files have digests."""
    folder = tmp_path / "sweep"
    shutil.copytree(SWEEPS / "d55bf84", folder)
    for file in folder.rglob("status.json"):
        digests = {name: asdict(digest) for name, digest in RunDirectory(file.parent).digests().items()}
        edit(file, lambda status, digests=digests: status | {"digests": digests})
    return folder


def edit(file: Path, change: Callable[[Any], Any]) -> None:
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def edit_text(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def give(verb: str, sweep: Path, *overrides: str) -> int:
    return main([verb, f"name={sweep.name}", f"outputs={sweep.parent}", *overrides])


def forget_digest(run: Path) -> None:
    edit(run / "status.json", lambda status: {key: status[key] for key in status if key != "digests"})


def change_a_digit(run: Path) -> None:
    edit_text(run / "metrics.csv", "1,0.001,2.", "1,0.001,3.")


def change_one_of_an_earlier_version(run: Path) -> None:
    whole = hashlib.sha256((run / "metrics.csv").read_bytes()).hexdigest()
    forget_digest(run)
    edit(run / "status.json", lambda status: status | {"metrics_sha256": whole})
    change_a_digit(run)


def lose_a_row(run: Path) -> None:
    forget_digest(run)
    file = run / "metrics.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def set_last_accuracy(run: Path, text: str) -> None:
    forget_digest(run)
    file = run / "metrics.csv"
    *rows, last = file.read_text().splitlines()
    cells = last.split(",")
    cells[rows[0].split(",").index("test_top1")] = text
    file.write_text("\n".join([*rows, ",".join(cells)]) + "\n")


def rename_a_column(run: Path) -> None:
    edit_text(run / "metrics.csv", "test_top5", "test_top6")


def write_words(run: Path) -> None:
    forget_digest(run)
    edit_text(run / "metrics.csv", "1,0.001,2.274281373684325", "1,0.001,low")


def skip_an_epoch(run: Path) -> None:
    forget_digest(run)
    edit_text(run / "metrics.csv", "\n1,0.001", "\n2,0.001")


def lose_the_status(run: Path) -> None:
    (run / "status.json").unlink()


def impossible_accuracy(run: Path) -> None:
    set_last_accuracy(run, "7.5")


def another_accuracy(run: Path) -> None:
    set_last_accuracy(run, "0.5")


def lose_a_column(run: Path) -> None:
    forget_digest(run)
    edit_text(run / "metrics.csv", "train_loss", "loss")


def more_epochs_than_planned(run: Path) -> None:
    forget_digest(run)
    file = run / "metrics.csv"
    rows = file.read_text().splitlines()
    file.write_text("\n".join([*rows, f"{len(rows) - 1},{rows[-1].partition(',')[2]}"]) + "\n")
    edit(run / "status.json", lambda status: status | {"epochs_done": len(rows), "epochs": len(rows)})


def another_config(run: Path) -> None:
    edit(run / "status.json", lambda status: status | {"config_hash": "another"})


DAMAGES = {
    change_a_digit: "the file that the run left: its SHA-256 differs, first in epoch 1, line 3",
    change_one_of_an_earlier_version: "metrics.csv is not the file that the run left: its SHA-256 differs",
    rename_a_column: "its SHA-256 differs, in its header",
    lose_the_status: "status.json: there is a metrics.csv, but no status.json",
    lose_a_row: "metrics.csv has 2 rows after 3 epochs",
    write_words: "metrics.csv, epoch 1, column train_loss: could not convert string to float: 'low'",
    skip_an_epoch: "metrics.csv, line 3: epoch 2, where 1 belongs",
    impossible_accuracy: "metrics.csv, line 4: test_top1 of epoch 2 is 7.5, no fraction",
    another_accuracy: "metrics.csv: the last test_top1 is 0.5, where status.json has ",
    lose_a_column: "metrics.csv, line 2: train_loss of epoch 0 is missing or not finite",
    more_epochs_than_planned: "it finished after 4 of 3 epochs",
    another_config: "it ended with another config than the plan has",
}


def test_all_is_well(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file: file.read_bytes() for file in sweep.rglob("*") if file.is_file()}
    assert give("verify", sweep) == 0
    told = "5 runs: 3 finished, 1 interrupted, 1 diverged; no faults\n"
    assert capsys.readouterr().out == told
    assert {file: file.read_bytes() for file in sweep.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_record_is_named_and_never_taken_for_whole(
    sweep: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    damage(sweep / RUN)
    assert give("verify", sweep) == 1
    faults = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fault: ")]
    assert len(faults) == 1
    assert RUN in faults[0]
    assert DAMAGES[damage] in faults[0]
    assert give("status", sweep) == 0
    assert "1 damaged" in capsys.readouterr().out
    with pytest.warns(UserWarning, match=f"{RUN} is damaged"):
        curves = sl.open_sweep(sweep).curves()
    assert set(curves.loc[curves["line"] == "TAct", "n"]) == {1}, "of the interrupted run"
    frames = sl.open_sweep(sweep)
    assert frames.runs.loc[RUN, "state"] == "damaged"
    assert RUN not in set(frames.metrics["run"])


def test_figures_report_and_tables_leave_a_damaged_run_out_and_say_so(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change_a_digit(sweep / RUN)
    assert give("plot", sweep, "formats=[html]") == 1
    told = capsys.readouterr()
    assert f"left out, damaged: {RUN}: " in told.err
    assert "TAct,0,1," in (sweep / "figures/curves.csv").read_text(), "of the interrupted run alone"
    assert give("report", sweep) == 1
    assert f"left out, damaged: {RUN}: " in capsys.readouterr().err
    page = (sweep / "report.html").read_text()
    assert "1 damaged" in page
    assert "its SHA-256 differs" in page
    assert give("report", sweep, "activation=relu") == 0
    monkeypatch.setattr("senet_lab.figures.report.write_report", lambda *_: sweep)
    with pytest.warns(UserWarning, match=f"1 run left out: {RUN} is damaged"):
        sl.open_sweep(sweep).report()
    plan = require_plan(SweepDirectory(sweep))
    tell_results(Survey(plan.sweep, plan.runs).refresh(), compose_command("retry", []))
    told = capsys.readouterr().out
    assert re.search(r" TAct +\S+ +1 +1\b", told), f"the interrupted run alone: {told}"


def test_a_run_that_is_left_out_is_told_by_the_exit_code_if_it_was_selected(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_a_digit(sweep / RUN)
    assert give("compare", sweep, f"against={sweep.name}") == 1
    assert f"left out, damaged: {RUN}: " in capsys.readouterr().err
    assert give("plot", sweep, "formats=[html]", "activation=relu") == 0
    assert capsys.readouterr().err == ""


def test_coefficients_that_were_changed_damage_the_run(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_text(sweep / RUN / "activations.csv", "0.", "1.")
    assert give("report", sweep) == 1
    assert "activations.csv is not the file that the run left" in capsys.readouterr().err
    assert main(["inspect", f"run={sweep / RUN}", "kind=activation_shapes"]) == 2
    assert f"{sweep / RUN} is damaged: " in capsys.readouterr().err


def cannot_open(*_: Any, **__: Any) -> None:
    raise PermissionError(13, "Permission denied")


def test_retry_leaves_a_run_that_it_cannot_lock(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change_a_digit(sweep / RUN)
    changed = (sweep / RUN / "metrics.csv").read_text()
    with RunDirectory(sweep / RUN).lock():
        assert give("retry", sweep, "activation=tact") == 2
    assert f"{RUN} is held by another process: repeat" in capsys.readouterr().err
    monkeypatch.setattr("filelock.FileLock.acquire", cannot_open)
    assert give("retry", sweep, "activation=tact") == 2
    assert f"{RUN} cannot be locked: Permission denied" in capsys.readouterr().err
    assert (sweep / RUN / "metrics.csv").read_text() == changed


def test_a_selection_alone_is_verified(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_a_digit(sweep / RUN)
    shutil.copytree(sweep / RUN, sweep / "runs/stray")
    assert give("verify", sweep, "activation=relu") == 0
    assert capsys.readouterr().out == "3 runs: 2 finished, 1 diverged; no faults\n"
    assert give("verify", sweep, "activation=tact") == 1
    assert capsys.readouterr().out.endswith("2 runs: 1 damaged, 1 interrupted; 1 fault\n")
    assert give("verify", sweep, "activation=mish") == 2
    assert "activation=mish: no such run here; there is relu, tact" in capsys.readouterr().err


def test_coefficients_that_were_changed_are_named_by_epoch_and_line(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sweep / RUN / "activations.csv"
    rows = file.read_text().splitlines(keepends=True)
    number = next(place for place, row in enumerate(rows) if row.startswith("1,"))
    rows[number + 2] = rows[number + 2].replace("0.", "1.", 1)
    file.write_text("".join(rows))
    assert give("verify", sweep) == 1
    told = f"fault: {file} is not the file that the run left: its SHA-256 differs, first in epoch 1, "
    assert f"{told}line {number + 1}\n" in capsys.readouterr().out
    file.write_text("".join(rows[:-1]))
    forget_digest(sweep / RUN)
    assert give("verify", sweep) == 1
    each = rows[-1].startswith("2,") and sum(row.startswith("2,") for row in rows)
    assert f"{file} has {2 * each - 2} rows of epoch 2, not {2 * each}\n" in capsys.readouterr().out


def test_other_files_are_checked_too(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = sweep / RUN
    edit_text(run / "config.yaml", "batch_size: ", "batch_size: 1")
    edit_text(run / "activations.csv", "0.", "1.")
    (run / "checkpoint.pt").write_bytes(b"what")
    other = sweep / "runs/resnet18/relu/lr=0.001/seed=0"
    (other / "environment.json").unlink()
    (other.parent / "seed=1" / "status.json").write_text("{")
    assert give("verify", sweep) == 1
    *faults, total = capsys.readouterr().out.splitlines()
    for file, what in (
        (run / "config.yaml", "is not the config that was planned"),
        (run / "activations.csv", "is not the file that the run left"),
        (run / "checkpoint.pt", "is damaged or no checkpoint"),
        (other / "environment.json", "is missing"),
        (other.parent / "seed=1" / "status.json", "is not JSON"),
    ):
        assert any(line.startswith(f"fault: {file} {what}") for line in faults), (file, faults)
    assert total.endswith("5 faults")


def test_other_data_than_the_sweep_began_with_are_a_fault(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(
        sweep / RUN / "environment.json",
        lambda one: (
            {"format": 2, "attempts": [attempt | {"data": "b"} for attempt in one["attempts"]]}
            if "attempts" in one
            else one | {"data": "b"}
        ),
    )
    plan = json.loads((sweep / "plan.json").read_text())
    node = next(run for run in plan["runs"] if run["directory"] == RUN)
    node = node.get("plain") or node["config"]
    key = hashlib.sha256(json.dumps(node["dataset"], sort_keys=True).encode()).hexdigest()[:16]
    edit(sweep / "plan.json", lambda content: content | {"data": {key: "a"}})
    assert give("verify", sweep) == 1
    assert "attempt 1 had other data than the sweep began with" in capsys.readouterr().out


def test_mixed_environments_are_a_note_here_and_under_the_figure(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sweep / "runs/resnet18/relu/lr=0.001/seed=1/environment.json"
    content = json.loads(file.read_text())
    attempt = content["attempts"][0] if "attempts" in content else content
    before, attempt["torch"] = attempt["torch"], "1.0"
    file.write_text(json.dumps(content))
    assert give("verify", sweep) == 0
    assert f"note: trained in mixed environments: torch 1.0 and {before}\n" in capsys.readouterr().out
    assert give("report", sweep) == 0
    note = f"Trained in mixed environments: ReLU: torch 1.0 and {before}."
    assert note in (sweep / "report.html").read_text()


def test_arms_of_a_comparison_that_changed_places_are_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = requests(arguments_of(tmp_path), lambda _: 0.5)
    sweep = found[-1].plan.sweep.path
    assert give("verify", sweep) == 0
    plan = json.loads((sweep / "plan.json").read_text())
    run = next(run for run in plan["runs"] if run["role"]["arm"] == "Mish")
    run["role"]["arm"] = "ReLU"
    (sweep / "plan.json").write_text(json.dumps(plan))
    capsys.readouterr()
    assert give("verify", sweep) == 1
    told = f"fault: {sweep / 'plan.json'}: the config of {run['directory']} is not that of ReLU in "
    assert told in capsys.readouterr().out
    forget_digest(sweep / run["directory"])
    set_last_accuracy(sweep / run["directory"], "7.5")
    assert give("verdict", sweep) == 2
    assert f"{run['directory']} is damaged: " in capsys.readouterr().err


def test_a_plan_that_was_edited_is_a_fault_and_none_is_bad_usage(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_text(sweep / "plan.json", '"lr": 0.001', '"lr": 0.002')
    assert give("verify", sweep) == 1
    assert "is not the one that was planned (its hash differs)" in capsys.readouterr().out
    (sweep / "plan.json").unlink()
    assert give("verify", sweep) == 2
    assert "plan.json does not exist" in capsys.readouterr().err


def test_a_run_in_no_plan_is_that_of_its_config(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep / "plan.json").unlink()
    edit_text(sweep / RUN / "config.yaml", "seed: 0", "seed: 5")
    assert give("plot", sweep, "formats=[html]") == 1
    assert f"{RUN}/config.yaml is not the config that the run had" in capsys.readouterr().err


def test_runs_in_no_plan_and_runs_without_a_digest_are_notes(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_digest(sweep / RUN)
    shutil.copytree(sweep / RUN, sweep / "runs/stray")
    assert give("verify", sweep) == 0
    told = capsys.readouterr().out
    assert "note: without a digest, so checked by rows alone: 1 run of an earlier version" in told
    assert "note: runs/stray is in no plan and was not checked" in told


def test_a_plan_that_holds_another_config_for_a_finished_run_is_noticed(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The case of a plan moved away, and another sweep planned over the same directories."""
    plan = json.loads((sweep / "plan.json").read_text())
    for run in plan["runs"]:
        plain = run.get("plain") or run["config"]
        plain["batch_size"] += 1
        run["hash"] = config_hash(plain)
    (sweep / "plan.json").write_text(json.dumps(plan))
    assert give("status", sweep) == 0
    assert "4 damaged" in capsys.readouterr().out


def test_a_sweep_that_is_only_read_is_plotted_into_a_folder_of_ones_own(sweep: Path, tmp_path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in [sweep, *sweep.rglob("*")]}
    assert give("plot", sweep, "formats=[html]", f"folder={tmp_path / 'mine'}") == 0
    assert {file: file.stat().st_mtime_ns for file in [sweep, *sweep.rglob("*")]} == before
    assert {"curves.csv", "final.csv"} < {file.name for file in (tmp_path / "mine").iterdir()}


@pytest.mark.parametrize(("verb", "link"), [("plot", "figures"), ("compare", "compare")])
def test_nothing_is_drawn_through_a_link_out_of_the_sweep(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, link: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (sweep / link).symlink_to(elsewhere)
    overrides = {"plot": ["formats=[html]"], "compare": [f"against={sweep.name}"]}[verb]
    assert give(verb, sweep, *overrides) == 2
    assert f"{sweep / link} is a symbolic link: it is not followed" in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == []
