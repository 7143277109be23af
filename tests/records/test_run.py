import math
import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from senet_lab.errors import UsageError
from senet_lab.records.rows import Coefficient, Metrics, PreActivation
from senet_lab.records.run import Environment, Git, RunDirectory, State, Status, run_directories
from senet_lab.records.survey import living_status
from senet_lab.records.tables import MissingRowsError

HEADER = (
    "epoch,lr,train_loss,train_top1,test_loss,test_top1,test_top5,seconds,images,val_loss,val_top1,val_top5,"
    "test_ema_loss,test_ema_top1,test_ema_top5,val_ema_loss,val_ema_top1,val_ema_top5"
)


def row(epoch: int, train_loss: float = 1.0) -> Metrics:
    return Metrics(epoch, 0.1, train_loss, 0.5, 1.0, 0.5, 0.9, 2.0, images=96 * (epoch + 1))


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path)
    for epoch in range(4):
        sites = [("stem.act", 0.2), ("head.act", epoch / 7)]
        directory.append_activations([Coefficient(epoch, site, "beta", value) for site, value in sites])
        directory.append_metrics(row(epoch))
    return directory


def epochs(directory: RunDirectory) -> list[float]:
    return directory.metrics()["epoch"].tolist()


def test_rows_read_back_as_written(directory: RunDirectory) -> None:
    assert directory.metrics_file.read_text().splitlines()[:2] == [
        HEADER,
        "0,0.1,1.0,0.5,1.0,0.5,0.9,2.0,96,,,,,,,,,",
    ]
    assert epochs(directory) == [0, 1, 2, 3]
    assert directory.metrics()["images"].tolist() == [96, 192, 288, 384]
    assert directory.metrics()["val_top1"].isna().all()
    assert directory.activations()["value"].tolist()[1::2] == [epoch / 7 for epoch in range(4)]


def test_numbers_read_back_to_the_last_bit(tmp_path: Path) -> None:
    draws = random.Random(0)
    values = [struct.unpack("<d", draws.randbytes(8))[0] for _ in range(2000)]
    values = [*filter(math.isfinite, values), 0.0, -0.0, 5e-324, 2.2250738585072011e-308, sys.float_info.max]
    for number, more in enumerate(([], [math.nan, math.inf, -math.inf])):
        directory = RunDirectory(tmp_path / str(number))
        directory.path.mkdir()
        directory.append_activations([Coefficient(0, "act", "beta", value) for value in values + more])
        read = directory.activations()["value"].tolist()
        bits = struct.Struct("<d").pack
        assert [*map(bits, read)] == [*map(bits, values + more)]


@pytest.mark.parametrize("count", [1, 2])
def test_blanks_are_missing_and_spaces_are_no_numbers(tmp_path: Path, count: int) -> None:
    directory = RunDirectory(tmp_path)
    for epoch in range(count):
        directory.append_metrics(row(epoch))
    assert directory.metrics()["val_loss"].isna().tolist() == [True] * count
    directory.metrics_file.write_text(directory.metrics_file.read_text().replace(",96,,", ",96, ,"))
    with pytest.raises(UsageError, match="epoch 0, column val_loss"):
        directory.metrics()


def test_rows_after_a_checkpoint_are_forgotten(directory: RunDirectory) -> None:
    directory.keep_epochs(2, 2)
    assert epochs(directory) == [0, 1]
    assert directory.activations()["epoch"].tolist() == [0, 0, 1, 1]
    directory.keep_epochs(0, 2)
    assert not directory.metrics_file.exists()
    assert not directory.activations_file.exists()


def test_pre_activations_before_training_are_kept_with_the_first_epoch(directory: RunDirectory) -> None:
    for epoch in range(5):
        rows = [PreActivation(epoch, "stem.act", measure, epoch / 3) for measure in ("mean", "std")]
        directory.append_pre_activations(rows)
    directory.keep_epochs(2, 2, 2)
    assert directory.pre_activations()["epoch"].tolist() == [0, 0, 1, 1, 2, 2]
    file = directory.pre_activations_file
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(MissingRowsError, match=r"pre_activations.csv lacks rows of epochs before 3"):
        directory.keep_epochs(2, 2, 2)
    assert epochs(directory) == [0, 1]
    directory.keep_epochs(0, 0)
    assert not file.exists()


def test_a_value_that_is_no_number_is_named_with_its_row(directory: RunDirectory) -> None:
    whole = directory.metrics_file.read_text()
    for old, new, place in (
        ("\n2,0.1,1.0", "\n2,0.1,low", "epoch 2, column train_loss: could not convert"),
        ("\n2,0.1", f"\n{10**400},0.1", "column epoch: 10+ is no epoch"),
        ("\n2,0.1", "\n-2,0.1", "epoch -2, column epoch: -2 is no epoch"),
    ):
        directory.metrics_file.write_text(whole.replace(old, new))
        with pytest.raises(UsageError, match=rf"metrics\.csv, .*{place}"):
            directory.metrics()


def test_a_torn_last_line_never_happened(directory: RunDirectory) -> None:
    with directory.metrics_file.open("a") as file:
        file.write("4,0.1,1.0,0.")
    assert epochs(directory) == [0, 1, 2, 3]
    directory.keep_epochs(4, 2)
    assert directory.metrics_file.read_text().count("\n") == 5


def test_an_epoch_that_is_there_twice_is_kept_once(directory: RunDirectory) -> None:
    directory.append_metrics(row(1, train_loss=7.0))
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


def test_a_column_that_a_record_lacks_reads_as_missing_and_is_filled_from_then_on(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.metrics_file.write_text("epoch,lr,train_loss,train_top1\n0,0.1,1.0,0.5\n1,0.1,0.9,0.6\n")
    assert directory.metrics()["train_loss"].tolist() == [1.0, 0.9]
    assert directory.metrics()["test_top1"].isna().all()
    directory.keep_epochs(1, 0)
    directory.append_metrics(row(1))
    assert directory.metrics_file.read_text().splitlines() == [
        HEADER,
        "0,0.1,1.0,0.5,,,,,,,,,,,,,,",
        "1,0.1,1.0,0.5,1.0,0.5,0.9,2.0,192,,,,,,,,,",
    ]


def test_columns_of_a_later_version_are_kept(directory: RunDirectory) -> None:
    lines = directory.metrics_file.read_text().splitlines()
    later = ["later," + lines[0], *(f"{place}.5,{line}" for place, line in enumerate(lines[1:]))]
    directory.metrics_file.write_text("\n".join(later) + "\n")
    directory.keep_epochs(3, 2)
    directory.append_metrics(row(3))
    assert (
        directory.metrics_file.read_text().splitlines()[-1] == ",3,0.1,1.0,0.5,1.0,0.5,0.9,2.0,384,,,,,,,,,"
    )
    assert directory.metrics()["later"].tolist()[:3] == [0.5, 1.5, 2.5]
    assert epochs(directory) == [0, 1, 2, 3]


def test_a_column_that_is_there_twice_is_refused(directory: RunDirectory) -> None:
    lines = directory.metrics_file.read_text().splitlines()
    header, *rows = (f"{line},{line.split(',')[3]}" for line in lines)
    directory.metrics_file.write_text("\n".join([header, *rows]) + "\n")
    with pytest.raises(UsageError, match=f"{directory.metrics_file} has the column train_top1 twice"):
        directory.metrics()


@pytest.mark.parametrize("epoch", ["9" * 5000, "\u0661", "01", "1.0", "-1"])
def test_an_odd_epoch_is_a_missing_one(directory: RunDirectory, epoch: str) -> None:
    text = directory.metrics_file.read_text()
    assert "\n1," in text
    directory.metrics_file.write_text(text.replace("\n1,", f"\n{epoch},"))
    with pytest.raises(MissingRowsError, match=r"metrics.csv lacks rows of epochs before 2"):
        directory.keep_epochs(2, 2)


def test_rows_are_known_again_beside_later_rows_and_columns_and_not_once_they_changed(
    directory: RunDirectory,
) -> None:
    hashes = directory.hashes()
    assert hashes.keys() == {"metrics.csv", "activations.csv"}
    directory.append_metrics(row(4))
    header, *lines = directory.metrics_file.read_text().splitlines()
    directory.metrics_file.write_text("\n".join([f"{header},later", *(f"{line}," for line in lines)]) + "\n")
    assert directory.changed_table(4, hashes) is None
    assert directory.changed_table(3, hashes) == directory.metrics_file
    directory.activations_file.write_text(directory.activations_file.read_text().replace("0.2", "0.3", 1))
    assert directory.changed_table(4, hashes) == directory.activations_file
    directory.activations_file.unlink()
    assert directory.changed_table(4, hashes) == directory.activations_file


def test_a_table_without_its_key_is_refused_with_the_files_name(directory: RunDirectory) -> None:
    directory.metrics_file.write_text(directory.metrics_file.read_text().replace("epoch", "round"))
    with pytest.raises(UsageError, match=r"metrics.csv lacks the column epoch"):
        directory.metrics()
    with pytest.raises(UsageError, match=r"metrics.csv lacks the column epoch"):
        directory.keep_epochs(2, 2)


def test_coefficients_of_earlier_versions_are_read_and_continued_in_long_form(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.activations_file.write_text(
        "epoch,site,alpha,beta\n0,stem.act,0.1,0.2\n0,head.act[3],0.3,0.4\n"
    )
    directory.metrics_file.write_text(f"{HEADER}\n0,0.1,1.0,0.5,1.0,0.5,0.9,2.0,96,,,,,,,,,\n")
    assert directory.activations()["coefficient"].tolist() == ["alpha", "beta", "alpha", "beta"]
    directory.keep_epochs(1, 4)
    directory.append_activations([Coefficient(1, "stem.act", "alpha", 0.5)])
    assert directory.activations_file.read_text().splitlines() == [
        "epoch,site,coefficient,value",
        "0,stem.act,alpha,0.1",
        "0,stem.act,beta,0.2",
        "0,head.act[3],alpha,0.3",
        "0,head.act[3],beta,0.4",
        "1,stem.act,alpha,0.5",
    ]


NO_STATUS = (
    "{", "[]", '{"state": "asleep", "epochs_done": 0}', "\x00\x00", '{"epochs_done": -1}',
    f'{{"images_done": {10**400}}}', '{"seconds": 1e400}', '{"seconds": -1}',
    '{"digests": {"metrics.csv": 7}}', '{"state": "damaged"}', '{"test_top1": 5}', '{"state": "unreadable"}',
)  # fmt: skip


@pytest.mark.parametrize("text", NO_STATUS)
def test_a_damaged_status_is_refused_with_the_files_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(UsageError, match=r"status.json(:| is not JSON)"):
        RunDirectory(tmp_path).status()


def test_a_config_of_any_size_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: b\n" * 300_000)
    with pytest.raises(UsageError, match="has 1,500,000 bytes: more than 1,048,576 are not read"):
        RunDirectory(tmp_path).config()


@pytest.mark.parametrize(
    "text", ["a: !!python/object/apply:os.mkdir [ran]", "a: &a [1, 1]\nb: [*a, *a]", "a: [", "\x00"]
)
def test_a_config_that_is_more_than_plain_values_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"config.yaml(: YAML aliases|(:[0-9]+)? is not plain YAML)"):
        RunDirectory(tmp_path).plain_config()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["- " * 500_000, "? " * 500_000, "{a: " * 250_000, "[" * 1_000_000])
def test_yaml_that_is_nested_without_end_is_refused(tmp_path: Path, text: str) -> None:
    directory = RunDirectory(tmp_path)
    directory.config_file.write_text(text)
    with pytest.raises(
        UsageError, match=r"config.yaml(: YAML nested more than|(:[0-9]+)? is not plain YAML)"
    ):
        directory.plain_config()


@pytest.mark.parametrize(
    ("text", "is_whole"), [(r"\ud83d\ude00", True), (r"\ud83d", False), (r"\uDE00", False)]
)
def test_half_of_a_character_is_refused(tmp_path: Path, text: str, is_whole: bool) -> None:
    directory = RunDirectory(tmp_path)
    directory.status_file.write_text(f'{{"state": "failed", "epochs_done": 0, "error": "{text}"}}')
    if is_whole:
        assert directory.status().error == "😀"
    else:
        with pytest.raises(UsageError, match=r"status.json is not JSON: .*surrogates not allowed"):
            directory.status()


def test_equal_values_are_written_out_each_time(tmp_path: Path) -> None:
    shared = [1, 2]
    RunDirectory(tmp_path).write_config({"a": shared, "b": shared})
    assert RunDirectory(tmp_path).plain_config() == {"a": [1, 2], "b": [1, 2]}


def test_a_dead_owner_is_told_from_a_living_one(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_status(Status(State.RUNNING, epochs_done=1, pid=7, host="elsewhere"))
    with directory.lock():
        assert directory.is_held()
        assert living_status(directory).state is State.RUNNING
    status = living_status(directory)
    assert status.state is State.INTERRUPTED
    assert status.error == "process 7 on elsewhere ended without recording why"


def test_the_environment_of_every_attempt_is_kept(directory: RunDirectory) -> None:
    assert directory.environments() == ()
    first = Environment(
        "0.1.0", Git("f00", dirty=False), "3.11.7", "2.15.0", "x86_64", "cpu", "float32", 1, "here", "Linux"
    )
    second = replace(first, git=None, torch="2.16.0", source="abc")
    directory.add_environment(first)
    directory.add_environment(second)
    assert directory.environments() == (first, second)
    directory.environment_file.write_text('{"torch": ')
    with pytest.raises(UsageError, match=r"environment\.json is not JSON"):
        directory.environments()


def test_an_environment_of_an_earlier_version_is_the_first_attempt(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.environment_file.write_text(
        '{"senet_lab": "0.1.0", "git": null, "python": "3.11.7", "torch": "2.15.0", "device": "x86_64", '
        '"device_type": "cpu", "precision": "float32", "threads": 1, "host": "here", "platform": "Linux"}'
    )
    assert [attempt.torch for attempt in directory.environments()] == ["2.15.0"]


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Path]:
    """A folder that holds 1,100 folders, each in the one before."""
    handle = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("a", dir_fd=handle)
        below = os.open("a", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)
    yield tmp_path
    subprocess.run(["rm", "-r", tmp_path / "a"], check=True)  # as Python's own ways may not get through


def test_runs_are_found_beside_folders_that_are_nested_a_thousand_deep(nested: Path) -> None:
    (nested / "b/c").mkdir(parents=True)
    for name in ("b/c", "b"):
        RunDirectory(nested / name).write_config({})
    (nested / "link").symlink_to(nested / "b")
    assert [run.path for run in run_directories(nested)] == [nested / "b/c", nested / "b"]
