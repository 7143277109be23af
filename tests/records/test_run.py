from pathlib import Path

import pytest

from senet_lab.errors import UsageError
from senet_lab.records.run import MissingRowsError, RunDirectory, State
from senet_lab.records.survey import living_status


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path)
    for epoch in range(4):
        directory.append_activations([(epoch, "stem.act", 0.1, 0.2), (epoch, "head.act", 0.3, epoch / 7)])
        directory.append_metrics([epoch, 0.1, 1.0, 0.5, 1.0, 0.5, 0.9, 2.0])
    return directory


def epochs(directory: RunDirectory) -> list[float]:
    return directory.metrics()["epoch"].tolist()


def test_rows_read_back_as_written(directory: RunDirectory) -> None:
    assert epochs(directory) == [0, 1, 2, 3]
    assert directory.activations()["beta"].tolist()[1::2] == [epoch / 7 for epoch in range(4)]


def test_rows_after_a_checkpoint_are_forgotten(directory: RunDirectory) -> None:
    directory.keep_epochs(2, 2)
    assert epochs(directory) == [0, 1]
    assert directory.activations()["epoch"].tolist() == [0, 0, 1, 1]
    directory.keep_epochs(0, 2)
    assert not directory.metrics_file.exists()
    assert not directory.activations_file.exists()


def test_a_torn_last_line_never_happened(directory: RunDirectory) -> None:
    with directory.metrics_file.open("a") as file:
        file.write("4,0.1,1.0,0.")
    assert epochs(directory) == [0, 1, 2, 3]
    directory.keep_epochs(4, 2)
    assert directory.metrics_file.read_text().count("\n") == 5


def test_an_epoch_that_is_there_twice_is_kept_once(directory: RunDirectory) -> None:
    directory.append_metrics([1, 0.1, 7.0, 0.5, 1.0, 0.5, 0.9, 2.0])
    directory.keep_epochs(4, 2)
    assert epochs(directory) == [0, 1, 2, 3]
    assert directory.metrics()["train_loss"].tolist() == [1.0, 7.0, 1.0, 1.0]


def test_missing_rows_are_noticed(directory: RunDirectory) -> None:
    with pytest.raises(MissingRowsError, match=r"metrics.csv lacks rows of epochs before 5"):
        directory.keep_epochs(5, 2)
    lines = directory.activations_file.read_text().splitlines(keepends=True)
    directory.activations_file.write_text("".join(lines[:3] + lines[4:]))
    with pytest.raises(MissingRowsError, match=r"activations.csv lacks rows of epochs before 4"):
        directory.keep_epochs(4, 2)
    assert epochs(directory) == [0, 1, 2, 3]


def test_a_missing_column_is_refused_with_the_files_name(directory: RunDirectory) -> None:
    text = directory.metrics_file.read_text()
    directory.metrics_file.write_text(text.replace("test_top5", "top5"))
    with pytest.raises(UsageError, match=r"metrics.csv lacks the column test_top5"):
        directory.metrics()
    with pytest.raises(UsageError, match=r"metrics.csv does not have the header epoch,lr,"):
        directory.keep_epochs(2, 2)


@pytest.mark.parametrize("text", ["{", "[]", '{"state": "asleep", "epochs_done": 0}', "\x00\x00"])
def test_a_damaged_status_is_refused_with_the_files_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(UsageError, match=r"status.json is not the status of a run"):
        RunDirectory(tmp_path).status()


@pytest.mark.parametrize(
    "text", ["a: !!python/object/apply:os.mkdir [ran]", "a: &a [1, 1]\nb: [*a, *a]", "a: [", "\x00"]
)
def test_a_config_that_is_more_than_plain_values_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"config.yaml(: YAML aliases| is not plain YAML)"):
        RunDirectory(tmp_path).config()
    assert not (tmp_path / "ran").exists()


def test_equal_values_are_written_out_each_time(tmp_path: Path) -> None:
    shared = [1, 2]
    RunDirectory(tmp_path).write_config({"a": shared, "b": shared})
    assert RunDirectory(tmp_path).config() == {"a": [1, 2], "b": [1, 2]}


def test_a_dead_owner_is_told_from_a_living_one(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_status({"state": State.RUNNING, "epochs_done": 1, "pid": 7, "host": "elsewhere"})
    with directory.lock():
        assert directory.is_held()
        assert living_status(directory)["state"] is State.RUNNING
    status = living_status(directory)
    assert status["state"] is State.INTERRUPTED
    assert status["error"] == "process 7 on elsewhere ended without a word"


def test_an_environment_reads_back_as_written(directory: RunDirectory) -> None:
    assert directory.environment() == {}
    directory.write_environment({"torch": "2.15.0", "git": {"commit": "f00"}})
    assert directory.environment() == {"torch": "2.15.0", "git": {"commit": "f00"}}
    (directory.path / "environment.json").write_text('{"torch": ')
    with pytest.raises(UsageError, match=r"environment\.json does not tell an environment"):
        directory.environment()
