"""The live view's model of a sweep, and what reaches a viewer's document; the browser's part is elsewhere."""

import json
import re
from pathlib import Path
from unittest.mock import Mock

import pytest
from bokeh.document import Document
from bokeh.models import DataTable, Div
from records_on_disk import TEMPLATES, directory_of, run_config, write_plan, write_run

from senet_lab.config import Band
from senet_lab.errors import UsageError
from senet_lab.figures import live as live_module
from senet_lab.figures.live import VALUES, LiveSweep, Viewer
from senet_lab.records.run import RunDirectory


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


def open_view(sweep):
    live = LiveSweep(sweep, TEMPLATES, Band.std)
    viewer = Viewer(live, Document())
    settle(viewer)
    return live, viewer


def settle(viewer):
    for _ in range(len(viewer.live.contents) + 1):
        viewer.update()


def drawn(viewer, figure):
    """Epochs of the mean curve."""
    plot = viewer.panels[figure].plot
    (line,) = [renderer for renderer in plot.renderers if renderer.name == "mean"]
    return list(line.data_source.data["epoch"])


def test_a_new_epoch_reaches_every_viewer_in_the_plot_that_it_has(sweep):
    live, viewer = open_view(sweep)
    other = Viewer(live, Document())
    settle(other)
    plot = viewer.panels["senet18_lr0.001"].plot
    assert drawn(viewer, "senet18_lr0.001") == [0, 1]
    add_epoch(running(sweep), 0.75)
    live.poll()
    settle(viewer)
    settle(other)
    assert drawn(viewer, "senet18_lr0.001") == drawn(other, "senet18_lr0.001") == [0, 1, 2]
    assert viewer.panels["senet18_lr0.001"].plot is plot, "zoom and hidden lines stay"
    assert viewer.rows[1][1] == 3
    assert viewer.rows[1][3] == pytest.approx(0.25)


def test_a_table_tells_what_a_figure_shows_and_follows_it(sweep):
    live, viewer = open_view(sweep)
    add_epoch(running(sweep), 0.75)
    live.poll()
    settle(viewer)
    children = viewer.figures.children
    panel = viewer.panels["senet18_lr0.001"]
    assert children[children.index(panel.plot) + 1] is panel.values
    table = panel.values.text
    assert 'aria-label="SENet-18 with learning rate 0.001: values at the last epoch" tabindex="0"' in table
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", table)
    columns = len(VALUES)
    assert dict(zip(cells[:columns], cells[columns:], strict=True)) == {
        **{"line": "ReLU", "n": "1", "epoch": "2", "mean error": "0.2500", "std": "–"},
        **{"runs": "2", "finished": "1", "missing": "0"},
    }


def test_a_new_epoch_is_drawn_once_for_all_viewers(sweep, monkeypatch):
    live, viewer = open_view(sweep)
    others = [Viewer(live, Document()) for _ in range(3)]
    for one in others:
        settle(one)
    counted = Mock(wraps=live_module.draw)
    monkeypatch.setattr(live_module, "draw", counted)
    add_epoch(running(sweep), 0.75)
    live.poll()
    for one in (viewer, *others):
        settle(one)
        assert drawn(one, "senet18_lr0.001") == [0, 1, 2]
    assert counted.call_count == 1


def test_nothing_new_changes_nothing(sweep):
    live, viewer = open_view(sweep)
    version, rows = live.version, viewer.source.data
    live.poll()
    settle(viewer)
    assert (live.version, viewer.source.data) == (version, rows)


def test_hidden_lines_stay_hidden_when_the_plot_is_drawn_anew(sweep):
    live, viewer = open_view(sweep)
    for renderer in viewer.panels["senet18_lr0.001"].plot.renderers:
        renderer.visible = False
    write_run(sweep, run_config(activation="mish"), [0.5, 0.5])
    plan = [run_config(seed=0), run_config(seed=1), run_config(activation="mish")]
    write_plan(sweep, plan)
    live.poll()
    settle(viewer)
    plot = viewer.panels["senet18_lr0.001"].plot
    visible = {item.label.value: {r.visible for r in item.renderers} for item in plot.legend[0].items}
    assert visible == {"ReLU": {False}, "Mish": {True}}
    assert len(viewer.figures.children) == 3, "the figure that left the plan is gone"


def test_states_time_left_and_a_figure_without_an_epoch(sweep):
    _, viewer = open_view(sweep)
    assert [row[0] for row in viewer.rows] == ["finished", "running", "planned", "planned"]
    assert viewer.rows[1][4] == pytest.approx(98 * 60 / 60)
    assert "1 finished, 1 running, 2 planned" in viewer.summary.text
    assert viewer.panels["senet18_lr0.1"].plot is None
    assert "No run has finished an epoch yet" in viewer.panels["senet18_lr0.1"].heading.text


def test_failures_and_damaged_records_are_told_at_once_and_escaped(sweep):
    live, viewer = open_view(sweep)
    set_status(running(sweep), state="failed", error="ValueError: <script>alert(1)</script>")
    other = write_run(sweep, run_config(lr=0.1), [0.5])
    (other / "status.json").write_text('{"state": "runn')
    live.poll()
    settle(viewer)
    assert "failed: ValueError: &lt;script&gt;alert(1)&lt;/script&gt;" in viewer.summary.text
    assert "unreadable" in viewer.summary.text
    assert [row[0] for row in viewer.rows] == ["finished", "failed", "unreadable", "planned"]
    set_status_again = {"state": "finished", "epochs_done": 1}
    (other / "status.json").write_text(json.dumps(set_status_again))
    live.poll()
    settle(viewer)
    assert viewer.rows[2][0] == "finished"
    assert "unreadable" not in viewer.summary.text


def test_a_dead_process_is_interrupted(sweep):
    live, viewer = open_view(sweep)
    path = write_run(sweep, run_config(lr=0.1), [0.5], state="running")
    live.poll()
    settle(viewer)
    assert viewer.rows[2][0] == "interrupted"
    assert path.exists()


def test_looking_writes_nothing(sweep):
    def contents():
        return {file: file.stat().st_mtime_ns for file in sweep.rglob("*")}

    before = contents()
    live, viewer = open_view(sweep)
    live.poll()
    settle(viewer)
    assert contents() == before


def test_the_document_has_text_figures_and_table(sweep):
    document = Document()
    settle(Viewer(LiveSweep(sweep, TEMPLATES, Band.std), document))
    assert document.title == sweep.name
    (table,) = document.select({"type": DataTable})
    assert len(table.source.data["run"]) == 4
    assert len(list(document.select({"type": Div}))) == 5, "one of the sweep, two a figure"


def test_no_plan(tmp_path):
    with pytest.raises(UsageError, match=r"plan\.json does not exist"):
        LiveSweep(tmp_path, TEMPLATES, Band.std)
