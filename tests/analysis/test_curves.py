import math

import pandas as pd
import pytest
from records_on_disk import panels_of, run_config, write_plan, write_run

from senet_lab.analysis.curves import curves, finals, panel_notes, states, values
from senet_lab.analysis.metrics import find_metric
from senet_lab.records.run import RunDirectory

ERROR = find_metric("test_error")


def curve_of(sweep, metric=ERROR):
    return curves(values(panels_of(sweep), metric))


def notes_of(sweep):
    (panel,) = panels_of(sweep)
    return panel_notes(panel, curve_of(sweep))


def test_mean_and_spread_of_the_test_error(tmp_path):
    for seed, top1 in enumerate([[0.5, 0.7], [0.6, 0.8], [0.4, 0.9]]):
        write_run(tmp_path, run_config(seed=seed), top1)
    table = curve_of(tmp_path)
    assert table["epoch"].tolist() == [0, 1]
    assert table["n"].tolist() == [3, 3]
    assert table["mean"].tolist() == pytest.approx([0.5, 0.2])
    # Sample standard deviation: squared deviations 0.01 + 0.01 + 0 over n − 1 = 2.
    assert table["std"].tolist() == pytest.approx([0.1, 0.1])
    assert table["sem"].tolist() == pytest.approx([0.1 / math.sqrt(3)] * 2)


def test_one_seed_has_no_spread(tmp_path):
    write_run(tmp_path, run_config(), [0.5, 0.7])
    table = curve_of(tmp_path)
    assert table["n"].tolist() == [1, 1]
    assert table[["std", "sem", "low", "high"]].isna().all(axis=None)


def test_unequal_lengths_average_what_there_is_at_each_epoch(tmp_path):
    write_run(tmp_path, run_config(seed=0), [0.7], state="diverged")
    write_run(tmp_path, run_config(seed=1), [0.5, 0.7, 0.9])
    table = curve_of(tmp_path)
    assert table["n"].tolist() == [2, 1, 1]
    assert table["mean"].tolist() == pytest.approx([0.4, 0.3, 0.1])
    assert table["std"].isna().tolist() == [False, True, True]


def test_epochs_are_in_order_and_one_that_no_run_has_is_absent(tmp_path):
    write_run(tmp_path, run_config(seed=0), [0.5, 0.7], "interrupted", epochs=[0, 3])
    write_run(tmp_path, run_config(seed=1), [0.5, 0.7], "interrupted", epochs=[1, 3])
    table = curve_of(tmp_path)
    assert table["epoch"].tolist() == [0, 1, 3]
    assert (table["mean"] > 0).all()


def test_an_accuracy_that_is_no_number_does_not_count(tmp_path):
    write_run(tmp_path, run_config(seed=0), [0.5, math.nan], state="diverged")
    write_run(tmp_path, run_config(seed=1), [0.7, 0.9])
    table = curve_of(tmp_path)
    assert table["n"].tolist() == [2, 1]
    assert table["mean"].tolist() == pytest.approx([0.4, 0.1])


def test_any_column_is_averaged_and_time_adds_up(tmp_path):
    for seed in range(2):
        write_run(tmp_path, run_config(seed=seed), [0.5, 0.7])  # train_loss 1.0, 1.5 seconds an epoch
    table = curve_of(tmp_path, find_metric("train_loss"))
    assert table["mean"].tolist() == [1, 1]
    assert table["seconds"].tolist() == [1.5, 3]


def test_a_column_that_the_record_lacks_reads_as_missing(tmp_path):
    write_run(tmp_path, run_config(), [0.5])
    assert curve_of(tmp_path, find_metric("val_error")).empty
    assert curve_of(tmp_path)["images"].isna().all()


def test_curves_and_finals_of_all_lines(tmp_path):
    write_plan(tmp_path, [run_config(activation="tact", seed=seed) for seed in range(5)])
    for seed, state in enumerate(["finished", "diverged", "failed", "running"]):
        path = write_run(tmp_path, run_config(activation="tact", seed=seed), [0.5] * (10 - seed), state=state)
    write_run(tmp_path, run_config(seed=0), [0.25])
    write_run(tmp_path, run_config(activation="mish", seed=0), [], state="interrupted")
    with RunDirectory(path).lock():  # its process lives
        panels = panels_of(tmp_path)
    table = curves(values(panels, ERROR))
    assert table.groupby("line", sort=False).size().to_dict() == {"ReLU": 1, "TAct": 10}

    final = finals(table, states(panels)).set_index("line")
    assert final.index.tolist() == ["ReLU", "Mish", "TAct"]
    tact = final.loc["TAct"]
    assert (tact["n"], tact["epoch"], tact["mean"]) == (1, 9, 0.5)
    counts = ["runs", "finished", "diverged", "failed", "running", "interrupted", "missing"]
    assert tact[counts].tolist() == [5, 1, 1, 1, 1, 0, 1]
    assert final.loc["Mish", "n"] == 0
    assert pd.isna(final.loc["Mish", "epoch"])
    assert pd.isna(final.loc["Mish", "mean"])
    assert final.loc["Mish", counts].tolist() == [5, 0, 0, 0, 0, 1, 4]


def test_a_complete_panel_needs_no_note(tmp_path):
    for name in ("relu", "tact"):
        for seed in (0, 1):
            write_run(tmp_path, run_config(activation=name, seed=seed), [0.5, 0.6])
    assert notes_of(tmp_path) == []


def test_notes_name_every_run_that_is_not_what_it_seems(tmp_path):
    for seed in range(3):
        write_run(tmp_path, run_config(activation="swish", seed=seed), [0.5] * 10)
    write_run(tmp_path, run_config(seed=0), [0.5] * 10)
    write_run(tmp_path, run_config(seed=1), [0.5] * 4, state="diverged")
    write_run(tmp_path, run_config(activation="tact", seed=0), [], state="failed")
    write_run(tmp_path, run_config(activation="tact", seed=1), [0.5] * 8, state="interrupted")
    path = write_run(tmp_path, run_config(activation="tact", seed=2), [0.5] * 9, state="running")
    with RunDirectory(path).lock():  # its process lives
        told = notes_of(tmp_path)
    assert told == [
        "Diverged: ReLU seed 1 after epoch 3.",
        "Failed: TAct seed 0 before its first epoch ended.",
        "Interrupted: TAct seed 1 after epoch 7.",
        "Still running: TAct seed 2 after epoch 8.",
        "Their recorded epochs count in the mean.",
        "Missing: ReLU seed 2.",
        "Runs averaged: ReLU n = 2, 1 from epoch 4; TAct n = 2, 1 from epoch 8, ends at epoch 8; "
        "otherwise n = 3.",
    ]


def test_long_lists_are_cut_with_their_length(tmp_path):
    for seed in range(9):
        write_run(tmp_path, run_config(seed=seed), [0.5], state="failed")
    assert "; and 3 more." in notes_of(tmp_path)[0]
