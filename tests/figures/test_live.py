"""The live view's reader of a sweep, and what it gives to all viewers; the browser's part is elsewhere."""

import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from records_on_disk import TEMPLATES, directory_of, run_config, write_plan, write_run

from senet_lab.composition.command import Choice
from senet_lab.config import Band
from senet_lab.errors import UsageError
from senet_lab.figures import live as live_module
from senet_lab.figures.live import MOST_ROWS, RUN_HEADINGS, VALUE_HEADINGS, LiveSweep
from senet_lab.records.run import RunDirectory
from senet_lab.records.sweep import SweepDirectory


def set_status(path: Path, **values):
    file = path / "status.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def add_epoch(path: Path, top1: float):
    """One more row, then the status that tells of it, as training writes them."""
    rows = (path / "metrics.csv").read_text()
    epoch = rows.count("\n") - 1
    (path / "metrics.csv").write_text(f"{rows}{epoch},0.001,1.0,0.5,1.0,{top1},0.9,1.5\n")
    set_status(path, epochs_done=epoch + 1)


@pytest.fixture
def sweep(tmp_path):
    """Four runs of two figures: one finished, one under way, two to come."""
    configs = [run_config(lr=lr, seed=seed) for lr in (0.001, 0.1) for seed in range(2)]
    write_plan(tmp_path, configs)
    write_run(tmp_path, configs[0], [0.5, 0.6])
    path = write_run(tmp_path, configs[1], [0.5, 0.6], state="running")
    set_status(path, seconds=120.0)
    with RunDirectory(path).lock():
        yield tmp_path


def running(sweep):
    return sweep / directory_of(run_config(seed=1))


def open_view(sweep: Path) -> LiveSweep:
    live = LiveSweep(SweepDirectory(sweep), TEMPLATES, Band.std)
    draw(live)
    return live


def test_only_selected_runs_are_shown(sweep):
    live = LiveSweep(SweepDirectory(sweep), TEMPLATES, Band.std, {"lr": Choice(["0.1"])})
    assert live.view.keys == ["summary", "figure:senet18_lr0.1", "runs"]
    assert [run.config.lr for run in live.survey.runs] == [0.1, 0.1]


def draw(live: LiveSweep) -> None:
    while live.draw_next():
        pass


def look(live: LiveSweep) -> None:
    live.poll()
    draw(live)


def shown(live: LiveSweep, since: int = -1) -> dict[str, dict[str, Any]]:
    """What a viewer who has seen the version `since` is given, by key."""
    changes = json.loads(live.view.changes(since))
    assert changes["version"] == live.view.version
    return {part["key"]: part for part in changes["parts"]}


def cells(html: str) -> list[str]:
    """Of the body of a table, row after row."""
    return re.findall(r"<td[^>]*>([^<]*)</td>", html)


def states(live: LiveSweep) -> list[str]:
    return cells(shown(live)["runs"]["html"])[1 :: len(RUN_HEADINGS)]


FIGURE = "figure:senet18_lr0.001"


def test_a_viewer_is_given_what_is_newer_than_what_it_has(sweep):
    live = open_view(sweep)
    assert list(shown(live)) == ["summary", FIGURE, "figure:senet18_lr0.1", "runs"]
    version = live.view.version
    assert shown(live, version) == {}
    add_epoch(running(sweep), 0.75)
    look(live)
    assert list(shown(live, version)) == ["summary", FIGURE, "runs"]
    assert shown(live, version) != shown(live)
    assert shown(live, live.view.version + 1) == shown(live), "a version of another server's"


def test_a_table_tells_what_a_figure_shows_and_follows_it(sweep):
    live = open_view(sweep)
    add_epoch(running(sweep), 0.75)
    look(live)
    part = shown(live)[FIGURE]
    assert (
        'aria-label="SENet-18 with learning rate 0.001: values at the last epoch" tabindex="0"'
        in part["html"]
    )
    assert dict(zip(VALUE_HEADINGS, cells(part["html"]), strict=True)) == {
        **{"line": "ReLU", "n": "1", "epoch": "2", "mean": "0.2500", "std": "–"},
        **{"runs": "2", "finished": "1", "missing": "0"},
    }
    assert part["item"]["root_id"]


def test_a_change_is_drawn_once_and_only_where_there_is_one(sweep, monkeypatch):
    live = open_view(sweep)
    counted = Mock(wraps=live_module.figure_section)
    monkeypatch.setattr(live_module, "figure_section", counted)
    look(live)
    assert counted.call_count == 0
    add_epoch(running(sweep), 0.75)
    look(live)
    assert [shown(live) for _ in range(3)] == [shown(live)] * 3
    assert [call.args[0].name for call in counted.call_args_list] == ["senet18_lr0.001"]


def test_nothing_new_changes_nothing(sweep):
    live = open_view(sweep)
    view = live.view
    look(live)
    assert live.view is view


def test_a_plan_that_changes_changes_the_figures(sweep):
    live = open_view(sweep)
    write_run(sweep, run_config(activation="mish"), [0.5, 0.5])
    write_plan(sweep, [run_config(seed=0), run_config(seed=1), run_config(activation="mish")])
    look(live)
    assert list(shown(live)) == ["summary", FIGURE, "runs"]
    assert "Mish" in cells(shown(live)[FIGURE]["html"])


def test_states_time_left_and_a_figure_without_an_epoch(sweep):
    live = open_view(sweep)
    assert states(live) == ["running", "planned", "planned", "finished"], "those first that go on"
    row = dict(zip(RUN_HEADINGS, cells(shown(live)["runs"]["html"]), strict=False))
    assert (row["epochs"], row["planned"], row["last"]) == ("2", "100", "0.4000")
    assert row["left"] == "1:38:00"
    assert "1 finished, 1 running, 2 planned; epochs 4 of 400" in shown(live)["summary"]["html"]
    assert shown(live)["figure:senet18_lr0.1"]["item"] is None
    assert "No run has finished an epoch yet" in shown(live)["figure:senet18_lr0.1"]["html"]


def test_failures_and_damaged_records_are_told_at_once_and_escaped(sweep):
    live = open_view(sweep)
    set_status(running(sweep), state="failed", error="ValueError: <script>alert(1)</script>")
    other = write_run(sweep, run_config(lr=0.1), [0.5])
    (other / "status.json").write_text('{"state": "runn')
    look(live)
    summary = shown(live)["summary"]["html"]
    assert "failed: ValueError: &lt;script&gt;alert(1)&lt;/script&gt;" in summary
    assert "unreadable" in summary
    assert states(live) == ["failed", "unreadable", "planned", "finished"]
    (other / "status.json").write_text(json.dumps({"state": "finished", "epochs_done": 1}))
    look(live)
    assert "unreadable" not in states(live)
    assert "unreadable" not in shown(live)["summary"]["html"]


def test_a_record_that_cannot_be_decoded_hides_no_other(sweep):
    live = open_view(sweep)
    damaged = write_run(sweep, run_config(lr=0.1), [0.5])
    (damaged / "metrics.csv").write_bytes(b"epoch,lr\n0,\xff\n")
    add_epoch(running(sweep), 0.75)
    look(live)
    assert states(live) == ["running", "damaged", "planned", "finished"]
    assert "0.2500" in cells(shown(live)[FIGURE]["html"])


def test_a_damaged_plan_is_told_and_the_view_goes_on(sweep):
    live = open_view(sweep)
    plan = (sweep / "plan.json").read_bytes()
    (sweep / "plan.json").write_text("{")
    look(live)
    assert "The view cannot follow the sweep: " in shown(live)["summary"]["html"]
    assert shown(live)[FIGURE]["item"], "what was drawn stays"
    (sweep / "plan.json").write_bytes(plan)
    add_epoch(running(sweep), 0.75)
    look(live)
    assert "The view cannot follow" not in shown(live)["summary"]["html"]
    assert "0.2500" in cells(shown(live)[FIGURE]["html"])


def test_a_figure_that_cannot_be_drawn_is_told_in_its_place(sweep, monkeypatch):
    live = open_view(sweep)
    monkeypatch.setattr(live_module, "finals", Mock(side_effect=ZeroDivisionError("by zero")))
    add_epoch(running(sweep), 0.75)
    look(live)
    assert "This figure cannot be drawn: ZeroDivisionError: by zero" in shown(live)[FIGURE]["html"]
    assert shown(live)[FIGURE]["item"] is None


def test_a_dead_process_is_interrupted(sweep):
    live = open_view(sweep)
    write_run(sweep, run_config(lr=0.1), [0.5], state="running")
    look(live)
    assert states(live) == ["running", "interrupted", "planned", "finished"]


def test_looking_writes_nothing(sweep):
    def contents():
        return {file: file.stat().st_mtime_ns for file in sweep.rglob("*")}

    before = contents()
    look(open_view(sweep))
    assert contents() == before


def test_a_long_table_shows_those_runs_that_go_on(tmp_path):
    configs = [run_config(seed=seed) for seed in range(MOST_ROWS + 2)]
    write_plan(tmp_path, configs)
    for config in configs[:2]:
        write_run(tmp_path, config, [0.5])
    live = LiveSweep(SweepDirectory(tmp_path), TEMPLATES, Band.std)
    assert states(live) == ["planned"] * MOST_ROWS
    assert "Not shown: 2 more runs" in shown(live)["runs"]["html"]


def test_no_plan(tmp_path):
    with pytest.raises(UsageError, match=r"plan\.json does not exist"):
        LiveSweep(SweepDirectory(tmp_path), TEMPLATES, Band.std)
