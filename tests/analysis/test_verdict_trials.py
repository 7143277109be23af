"""A comparison's records as frames, words and tables, from records with errors that the test makes up."""

import json
import re
from dataclasses import replace
from math import log10
from pathlib import Path

import pandas as pd
import pytest
from protocols import arguments_of, requests

from senet_lab.analysis.methods import checklists, methods
from senet_lab.analysis.trials import Comparison, at_common_rate, power_sentences, rates, read_comparison
from senet_lab.analysis.verdict import READING, judge
from senet_lab.analysis.verdict_tables import choice_table, pairs_latex, summary, summary_latex
from senet_lab.cli import main
from senet_lab.commands.verdict import show, write_verdict
from senet_lab.errors import UsageError
from senet_lab.records.plan import PlannedRun
from senet_lab.records.protocol import Stage
from senet_lab.records.sweep import SweepDirectory
from senet_lab.records.trials import role_of

NOISE = {0: 0.0, 1: 0.004, 10: 0.001, 11: -0.001, 12: 0.0}


def error_of(run: PlannedRun) -> float | None:
    """ReLU is best at 0.1, Mish at 1.0 and better there by 5 points."""
    role, lr, seed = role_of(run), run.plain["lr"], run.plain["seed"]
    best = {"ReLU": 0.1, "Mish": 1.0}[role.arm]
    gain = 0.05 if role.arm == "Mish" else 0.0
    slip = 0.003 * seed if role.arm == "Mish" and role.stage is Stage.tune else 0.0
    distance = abs(log10(lr / best))
    return 0.31 - gain + 0.09 * distance + NOISE[seed] * (1 + gain) + slip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small comparison, complete, its space not widened."""
    path = tmp_path_factory.mktemp("comparison")
    requests(arguments_of(path, "protocol.widen=false"), error_of)
    return path


@pytest.fixture
def found(folder: Path) -> Comparison:
    return read_comparison(SweepDirectory(folder / "outputs" / "verdict"))


def test_frames_hold_every_run_with_its_part(found: Comparison) -> None:
    assert len(found.tuning) == 12
    assert len(found.finals) == 6
    assert found.finals.groupby("arm")["lr"].unique().map(list).to_dict() == {"ReLU": [0.1], "Mish": [1.0]}
    chosen = found.tuning[found.tuning["chosen"]]
    assert chosen[["arm", "lr"]].drop_duplicates().to_numpy().tolist() == [["ReLU", 0.1], ["Mish", 1.0]]
    images = found.protocol.cells[0].images
    assert set(found.finals["images"]) == {5 * images}
    assert found.rules.smallest_difference == pytest.approx(0.005)


def test_rates_tell_how_the_error_depends_on_the_rate(found: Comparison) -> None:
    table = rates(found).set_index(["arm", "lr"])
    assert len(table) == 6
    relu = [
        error_of(run) for run in found.plan.runs if run.directory.startswith("runs/tune/cnn3/relu/lr=0.1/")
    ]
    assert table.loc[("ReLU", 0.1), "error"] == pytest.approx(sum(relu) / 2)
    assert table.loc[("ReLU", 0.1), ["n", "chosen", "at_border"]].tolist() == [2, True, False]
    assert table.loc[("Mish", 1.0), ["chosen", "at_border"]].tolist() == [True, True]


def test_one_rate_for_all_would_have_said_something_else(found: Comparison) -> None:
    trials, runs = at_common_rate(found)
    assert trials == {"Three-layer CNN on digits": (("lr", 0.1),)}
    assert len(runs) == 4
    early = judge(runs, found.rules).arms.set_index("arm")
    assert early.loc["ReLU", "best"]
    assert judge(found.finals, found.rules).arms.set_index("arm").loc["Mish", "best"]


def test_power_is_told_from_the_tuning_runs(found: Comparison) -> None:
    (text,) = power_sentences(found.plan, found.protocol)
    assert text.startswith(
        "Three-layer CNN on digits: 3 confirmation seeds find, with power 0.8, a difference"
    )
    assert "0.5 points need" in text


def test_methods_and_checklists_are_filled_in_from_the_records(found: Comparison) -> None:
    text = "\n".join(methods(found))
    for fact in (
        "We compared ReLU and Mish; the baseline was ReLU. Network and data set: Three-layer CNN on digits.",
        "1,150 training and 287 validation images of 10 classes",
        "lr from 0.01 to 1, on a logarithmic scale, and the same 3 trials from a grid",
        "with the seeds 0 and 1, all to the last epoch: 12 runs",
        "the seeds 10–12, shared by all arms and no tuning run: 6 runs, of which 0 diverged",
        "95 % Student's t intervals",
        "; optimizer: Adam (betas=[0.9, 0.999], eps=1e-08, weight_decay=0.0); ",
        "senet-lab 0.2, PyTorch 2.15, Python 3.12",
        "a processor (bfloat16, 1 CPU thread a run)",
    ):
        assert fact in text
    table = checklists(found)
    assert set(table["list"]) == {"NeurIPS", "ACL"}
    assert table["answer"].str.len().min() > 0
    answers = table.set_index("item")["answer"]
    assert answers["Bounds of each hyperparameter"] == "lr: 0.01 to 1"
    assert "Mish, Three-layer CNN on digits: lr=1" in answers["Configurations of the best models"]


def test_tables_for_people_and_for_latex(found: Comparison) -> None:
    answer = judge(found.finals, found.rules)
    table = summary(answer)
    assert table.columns.tolist() == ["arm", "Three-layer CNN on digits"]
    assert table["arm"].tolist() == ["Mish", "ReLU"]
    latex = summary_latex(answer)
    assert "\\toprule" in latex
    assert "\\textbf{" in latex.split("Mish")[1].split("\\\\")[0]
    assert "\\bottomrule" in pairs_latex(answer)
    assert "−" not in pairs_latex(answer)


def test_ranks_at_the_own_rates_and_at_a_common_one_stand_side_by_side(found: Comparison) -> None:
    table = choice_table(found).set_index("arm")
    assert table["lr"].to_dict() == {"ReLU": "0.1", "Mish": "1"}
    assert table["rank"].to_dict() == {"ReLU": "2", "Mish": "1"}
    assert table["rank at ReLU's"].to_dict() == {"ReLU": "1", "Mish": "2"}
    assert table["at the border"].to_dict() == {"ReLU": "no", "Mish": "yes"}
    tried = rates(found).set_index(["arm", "lr"])["error"]
    assert float(table.loc["Mish", "error, %"]) == pytest.approx(100 * tried["Mish", 1.0], abs=0.005)
    assert float(table.loc["Mish", "error at ReLU's, %"]) == pytest.approx(
        100 * tried["Mish", 0.1], abs=0.005
    )


def test_the_command_writes_words_tables_and_json(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["verdict", "experiment=verdict", f"outputs={folder / 'outputs'}", "formats=[html]"]
    assert main(command) == 0
    out = capfd.readouterr().out
    assert "Mish is better than ReLU by 5." in out
    sweep = folder / "outputs" / "verdict"
    assert pd.read_csv(sweep / "verdict.csv")["claim"].tolist() == ["better"]
    assert main([*command, "format=json", "activation=mish,relu"]) == 0
    printed = capfd.readouterr().out
    content = json.loads(printed)
    assert printed == (sweep / "verdict.json").read_text()
    (pair,) = content["pairs"]
    assert (pair["arm"], pair["baseline"], pair["n"], pair["equivalent"]) == ("Mish", "ReLU", 3, False)
    assert pair["difference"] == pytest.approx(-0.05)
    assert pair["low"] < pair["difference"] < pair["high"] < 0
    assert pair["p_better"] == 1
    assert pair["p_holm"] < 0.05
    assert pair["sentence"].startswith("Mish is better than ReLU")
    mish = next(arm for arm in content["arms"] if arm["arm"] == "Mish")
    assert (mish["chosen"], mish["at_border"]) == ({"lr": 1.0}, True)
    assert [trial["lr"] for trial in mish["tried"]] == [0.01, 0.1, 1.0]
    assert content["common_rate"]["trials"] == {"Three-layer CNN on digits": {"lr": 0.1}}
    files = {file.name for file in (sweep / "verdict").iterdir()}
    assert {"finals.csv", "tuning.csv", "rates.csv", "summary.tex", "methods.txt", "checklists.csv"} <= files


def test_a_selection_of_arms_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["verdict", "experiment=verdict", f"outputs={folder / 'outputs'}"]
    assert main([*command, "activation=relu"]) == 2
    told = "senet-lab: activation=relu leaves out 3 of 6 confirmation runs: a verdict is on all of them"
    assert capfd.readouterr().err.startswith(told)
    assert main([*command, "activation=relu,mish,mush"]) == 2
    told = "senet-lab: activation=mush: no such run here; did you mean mish? there is relu, mish\n"
    assert capfd.readouterr().err == told
    assert main([*command, "activation=relu,mish", "lr=0.01"]) == 2
    assert "lr=0.01 leaves out 6 of 6 confirmation runs" in capfd.readouterr().err


def test_the_runs_at_a_common_rate_are_judged_once(
    found: Comparison, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    judged = []
    monkeypatch.setattr(
        "senet_lab.analysis.trials.judge", lambda *given: judged.append(given) or judge(*given)
    )
    fresh = replace(found)
    files = write_verdict(SweepDirectory(tmp_path), fresh, judge(found.finals, found.rules))
    show(fresh, judge(found.finals, found.rules))
    assert [list(runs["arm"].unique()) for runs, _ in judged] == [["ReLU", "Mish"]]
    (table,) = (file for file in files if file.name == "common_rate.csv")
    assert len(pd.read_csv(table)) == 1


def test_a_terminal_shows_the_best_of_each_block_in_bold(
    found: Comparison, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = judge(found.finals, found.rules)
    show(found, answer)
    in_a_pipe = capfd.readouterr().out
    assert not set(in_a_pipe) & set("┃│━─\x1b…")
    assert re.search(r"^arm  +Three-layer CNN on digits$", in_a_pipe, re.MULTILINE)
    monkeypatch.setenv("FORCE_COLOR", "1")
    show(found, answer)
    text = capfd.readouterr().out
    assert READING in text
    best = summary(answer).set_index("arm").loc["Mish"].item()
    assert re.findall(r"\x1b\[1m([\d.]+ \(.*?\)) *\x1b", text) == [best]


def test_there_is_no_verdict_before_the_last_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["verdict", "experiment=verdict", f"outputs={tmp_path / 'outputs'}"]
    assert main(command) == 2
    assert "holds no comparison" in capfd.readouterr().err
    requests(arguments_of(tmp_path), error_of, confirms=lambda *_: False)
    assert main(command) == 2
    assert (
        "no verdict yet: the confirmation has not begun; go on with: senet-lab train"
        in capfd.readouterr().err
    )
    found = read_comparison(SweepDirectory(tmp_path / "outputs" / "verdict"))
    first = tmp_path / "outputs" / "verdict" / found.tuning["directory"].iloc[0]
    (first / "status.json").unlink()
    (first / "metrics.csv").unlink()
    with pytest.raises(UsageError, match="no verdict yet: 15 of 16 planned runs"):
        read_comparison(SweepDirectory(tmp_path / "outputs" / "verdict")).require_complete()
