"""Sweeps whose records hold what a terminal, rich, a browser, a spreadsheet or a config would obey."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from protocols import arguments_of, requests
from records_on_disk import TEMPLATES, run_config, write_plan, write_run

from senet_lab.api import open_sweep
from senet_lab.cli import main
from senet_lab.commands.train import tell_end
from senet_lab.config import Band
from senet_lab.errors import UsageError
from senet_lab.figures.live import LiveSweep
from senet_lab.records.plan import read_plan
from senet_lab.records.survey import Survey
from senet_lab.records.sweep import SweepDirectory
from senet_lab.session import Session

SECRET = "what the environment holds"
MARKUP = "[/x] [red]"
ESCAPE = "\x1b]0;title\x07\x9b2J\u202e"
INTERPOLATION = "${oc.env:SENET_LAB_SECRET} ${lr}"
SCRIPT = "<script>alert(1)</script>"
FORMULA = '=HYPERLINK("http://evil.example")'
EVIL = f"{FORMULA} {MARKUP} {ESCAPE} {INTERPOLATION} {SCRIPT} $$x$$"


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sweeps with such labels; a run of each has failed with such words."""
    monkeypatch.setenv("SENET_LAB_SECRET", SECRET)
    monkeypatch.setenv("COLUMNS", "1000")  # so that rich parts no word
    for name in ("mine", "other"):
        configs = [evil_config(seed) for seed in range(3)]
        write_plan(tmp_path / name, configs)
        for config in configs[:2]:
            write_run(tmp_path / name, config, [0.5, 0.6])
        failed = write_run(tmp_path / name, configs[2], [0.5], state="failed")
        status = json.loads((failed / "status.json").read_text()) | {"error": EVIL, "notes": [EVIL]}
        (failed / "status.json").write_text(json.dumps(status))
        (failed / "error.txt").write_text(f"Traceback:\n  {EVIL}\n")
    return tmp_path


def evil_config(seed: int) -> dict[str, Any]:
    config = run_config(seed=seed)
    config["activation"]["label"] = config["model"]["label"] = EVIL
    return config


def check_harmless(text: str, lines: bool = True) -> None:
    """No control character but line breaks, and nothing of the environment."""
    assert SECRET not in text
    assert [c for c in text if not c.isprintable() and c not in "\n\t"] == []
    assert lines or "\n" not in text


def run(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = main(list(arguments))
    told = capfd.readouterr()
    check_harmless(told.out + told.err)
    assert code == 0, told.err
    return told.out


@pytest.mark.parametrize("more", [[], ["format=json"]])
def test_status(outputs: Path, capfd: pytest.CaptureFixture[str], more: list[str]) -> None:
    text = run(capfd, "status", "name=mine", f"outputs={outputs}", *more)
    assert MARKUP in text
    assert INTERPOLATION in text


def test_train(outputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sweep = SweepDirectory(outputs / "mine")
    plan = read_plan(sweep)
    assert plan is not None
    assert tell_end(Session(Survey(sweep, plan.runs).refresh(), None, 1), ["train"]) == 1
    told = capfd.readouterr().out
    check_harmless(told)
    assert MARKUP in told
    assert INTERPOLATION in told


def test_plot_and_its_files(outputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = run(capfd, "plot", "name=mine", f"outputs={outputs}", "formats=[html]")
    assert MARKUP in text
    assert INTERPOLATION in text
    check_files(outputs / "mine" / "figures")


def test_compare_and_its_files(outputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = run(capfd, "compare", "name=mine", "against=other", f"outputs={outputs}")
    assert MARKUP in text
    check_files(outputs / "mine" / "compare" / "other")


def test_report(outputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(capfd, "report", "name=mine", f"outputs={outputs}")
    check_page((outputs / "mine" / "report.html").read_text("utf-8"))


def test_verdict_and_its_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    requests(arguments_of(tmp_path, "protocol.widen=false"), lambda _: 0.2)
    sweep = SweepDirectory(tmp_path / "outputs" / "verdict")
    plan, label = json.loads(sweep.plan_file.read_text()), EVIL.replace(ESCAPE, "")
    for part in (*(run["role"] for run in plan["runs"]), *plan["protocol"]["cells"]):
        part["arm"] = label if part["arm"] == "Mish" else part["arm"]
    sweep.plan_file.write_text(json.dumps(plan))
    asked = ["experiment=verdict", f"outputs={tmp_path / 'outputs'}"]
    assert MARKUP in run(capfd, "verdict", *asked, "formats=[html]")
    run(capfd, "verdict", *asked, "formats=[html]", "format=json")
    check_files(sweep.verdict)
    for file in (*sweep.verdict.iterdir(), sweep.verdict_file, sweep.verdict_json):
        check_harmless(file.read_text("utf-8"))
    run(capfd, "report", *asked)
    for page in (sweep.figures / "verdict_finals.html", sweep.report_file):
        assert SCRIPT not in page.read_text("utf-8")


def test_watch(outputs: Path) -> None:
    live = LiveSweep(SweepDirectory(outputs / "mine"), TEMPLATES, Band.std)
    while live.draw_next():
        pass
    parts = json.loads(live.view.changes(-1))["parts"]
    for part in parts:
        check_harmless(part["html"])
        assert SCRIPT not in part["html"]
    assert any(MARKUP in part["html"] for part in parts)


TEMPLATES_OF_A_THIEF = (
    "${oc.env:SENET_LAB_SECRET}",
    "${activation.name} ${oc.env:SENET_LAB_SECRET}",
    "${${dataset.name}:SENET_LAB_SECRET}",
    "$${lr}{oc.env:SENET_LAB_SECRET}",
    "${oc.create:{a:${oc.env:SENET_LAB_SECRET}}}",
)


@pytest.mark.parametrize("template", TEMPLATES_OF_A_THIEF)
@pytest.mark.parametrize("key", ["name", "line", "style"])
def test_templates_of_a_plan_resolve_values_of_a_run_alone(
    outputs: Path, capfd: pytest.CaptureFixture[str], template: str, key: str
) -> None:
    file = outputs / "mine" / "plan.json"
    value = {"order": 1, "color": template} if key == "style" else template
    file.write_text(json.dumps(json.loads(file.read_text()) | {"figures": {key: value}}))
    for verb in ("status", "report"):
        assert main([verb, "name=mine", f"outputs={outputs}"]) == 2
        error = capfd.readouterr().err
        check_harmless(error.rstrip("\n"), lines=False)
        assert f"{file}: its figures.* interpolate other things than values of a run" in error


def test_an_error_in_a_notebook_is_harmless_too(outputs: Path) -> None:
    (outputs / "mine" / "plan.json").write_text(json.dumps({"format": EVIL}))
    with pytest.raises(UsageError) as caught:
        open_sweep(outputs / "mine").curves()
    check_harmless(str(caught.value), lines=False)
    (outputs / "mine" / "plan.json").unlink()
    other = next((outputs / "other" / "runs").rglob("status.json"))
    other.write_text(json.dumps({"state": f"a\nb{EVIL}"}))
    with pytest.warns(UserWarning, match="1 run left out") as warned:
        open_sweep(outputs / "other").curves()
    check_harmless(str(warned[0].message), lines=False)


def test_an_error_message_is_one_harmless_line(outputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (outputs / "mine" / "plan.json").write_text(json.dumps({"format": f"a\nb{EVIL}"}))
    assert main(["status", "name=mine", f"outputs={outputs}"]) == 2
    error = capfd.readouterr().err
    check_harmless(error.rstrip("\n"), lines=False)
    assert MARKUP in error


def check_files(folder: Path) -> None:
    """Tables without formulas, pages without scripts of others."""
    cells = []
    for file in folder.glob("*.csv"):
        text = file.read_text("utf-8")
        check_harmless(text)
        cells += [cell for row in csv.reader(text.splitlines()) for cell in row]
    assert any(cell.startswith(f"'{FORMULA}") for cell in cells)
    assert [cell for cell in cells if re.match(r"\s*[=+@]", cell)] == []
    for file in folder.glob("*.html"):
        check_page(file.read_text("utf-8"))


def check_page(page: str) -> None:
    assert SECRET not in page
    assert SCRIPT not in page
    drawings = re.findall(r"<script type=\"application/json\".*?</script>", page, flags=re.DOTALL)
    assert drawings
    assert "$$x$$" not in "".join(drawings), "no TeX, for which a browser would ask elsewhere"
    text = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    check_harmless(text)
    assert MARKUP in text
    assert "${oc.env:SENET_LAB_SECRET}" in text
