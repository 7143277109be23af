from dataclasses import replace
from pathlib import Path

import pytest
from records_on_disk import run_config, write_plan

from senet_lab.errors import UsageError
from senet_lab.records import plan
from senet_lab.records.plan import PlannedRun, agree_on_data, require_plan, require_planned
from senet_lab.records.sweep import SweepDirectory


def planned(folder: Path, seeds: int) -> tuple[SweepDirectory, list[PlannedRun]]:
    write_plan(folder, [run_config(seed=seed) for seed in range(seeds)])
    sweep = SweepDirectory(folder)
    return sweep, require_plan(sweep).runs


def test_a_plan_is_parsed_again_only_when_its_file_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, parsed = plan.read_text, []
    monkeypatch.setattr(plan, "read_text", lambda file, root: parsed.append(file) or original(file, root))
    sweep, runs = planned(tmp_path, 3)
    for run in runs:
        require_planned(sweep, run)
    assert len(parsed) == 1
    for run in runs:  # the first one writes the fingerprint into the plan
        agree_on_data(sweep, run, "fingerprint")
    assert len(parsed) == 2
    with pytest.raises(UsageError, match="the data have changed"):
        agree_on_data(sweep, runs[0], "another")
    assert len(parsed) == 2


def test_runs_of_a_plan_share_the_equal_values_of_their_configs(tmp_path: Path) -> None:
    sweep, (first, second) = planned(tmp_path, 2)
    assert first.plain["model"] is second.plain["model"]
    assert first.config.model is second.config.model
    assert (first.plain["seed"], second.plain["seed"]) == (0, 1)
    text = sweep.plan_file.read_text()
    assert plan._sharing(text) == plan._converted(text, sweep.plan_file)


def test_a_plan_with_a_number_that_json_lacks_is_read(tmp_path: Path) -> None:
    config = run_config()
    write_plan(tmp_path, [{**config, "activation": {**config["activation"], "most": float("inf")}}])
    (run,) = require_plan(SweepDirectory(tmp_path)).runs
    assert run.config.activation["most"] == float("inf")


NO_RUNS = (
    "", ".", "runs", "runs/", "runs/.", "./runs/a", "runs//a", "runs/../a", "/runs/a", "figures/a", "a\0b",
    "runs/a\0b", "runs/\x1b[31m", "runs/\ud800", "runs/.a", f"runs/{'x' * 300}",
    f"runs{'/x' * 2000}",
)  # fmt: skip


@pytest.mark.parametrize("directory", NO_RUNS)
def test_a_run_that_could_be_another_folder_is_refused(tmp_path: Path, directory: str) -> None:
    sweep, (run,) = planned(tmp_path, 1)
    replace(require_plan(sweep), runs=[replace(run, directory=directory)]).write()
    with pytest.raises(UsageError, match=r"names a run that cannot be one|surrogates not allowed"):
        require_plan(sweep)


def test_a_run_that_continues_itself_is_refused(tmp_path: Path) -> None:
    sweep, (run,) = planned(tmp_path, 1)
    replace(require_plan(sweep), runs=[replace(run, continues=[run.hash])]).write()
    with pytest.raises(UsageError, match="would never finish"):
        require_plan(sweep)


def test_a_run_that_is_planned_twice_is_refused(tmp_path: Path) -> None:
    sweep, runs = planned(tmp_path, 2)
    replace(require_plan(sweep), runs=[*runs, runs[1]]).write()
    with pytest.raises(UsageError, match=f"names {runs[1].directory} twice"):
        require_plan(sweep)


def test_a_run_within_another_is_refused(tmp_path: Path) -> None:
    """`remove` would delete it with the other."""
    sweep, (outer, inner) = planned(tmp_path, 2)
    within = replace(inner, directory=f"{outer.directory}/inner")
    replace(require_plan(sweep), runs=[outer, within]).write()
    with pytest.raises(UsageError, match=f"names {within.directory}, which lies within another run"):
        require_plan(sweep)


@pytest.mark.parametrize(
    ("key", "number"),
    [
        *[("checkpoint_bytes", number) for number in (-1, 2**53, 10**400)],
        *[("threads", number) for number in (0, 10**9)],  # which would end the process
        *[("epoch_macs", number) for number in (-5, 10**400)],
    ],
)
def test_a_number_that_counts_nothing_is_refused(tmp_path: Path, key: str, number: int) -> None:
    sweep, (run,) = planned(tmp_path, 1)
    replace(require_plan(sweep), runs=[replace(run, **{key: number})]).write()
    with pytest.raises(UsageError, match=rf"plan\.json: .*{key}"):
        require_plan(sweep)


def test_a_plan_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    sweep, runs = planned(tmp_path, 2)
    require_planned(sweep, runs[1])
    require_plan(sweep).without(runs[1:]).write()
    require_planned(sweep, runs[0])
    with pytest.raises(UsageError, match="was replaced: this run is not in it any more"):
        require_planned(sweep, runs[1])
    planned(tmp_path, 2)
    require_planned(sweep, runs[1])
    sweep.plan_file.unlink()
    with pytest.raises(UsageError, match="was replaced"):
        require_planned(sweep, runs[1])
