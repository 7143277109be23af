import numpy as np
import pandas as pd
import pytest

from senet_lab.analysis.metrics import find_metric, known_metrics
from senet_lab.errors import UsageError
from senet_lab.records.rows import Metrics, columns


def test_every_column_is_a_metric_with_a_label_of_its_docstring():
    assert set(columns(Metrics)) - {"epoch"} <= set(known_metrics())
    assert find_metric("train_loss").label == "Training loss"
    assert all(metric.label for metric in known_metrics().values())


@pytest.mark.parametrize(
    ("name", "column", "label", "lower"),
    [
        ("test_error", "test_top1", "Test error", True),
        ("test_top5_error", "test_top5", "Test top-5 error", True),
        ("train_error", "train_top1", "Training error", True),
        ("val_error", "val_top1", "Validation error", True),
        ("test_top1", "test_top1", "Test top-1 accuracy", False),
        ("test_loss", "test_loss", "Test loss", True),
    ],
)
def test_errors_and_columns(name, column, label, lower):
    metric = find_metric(name)
    assert (metric.column, metric.label, metric.lower_is_better) == (column, label, lower)
    table = pd.DataFrame({column: [0.25, np.nan]})
    expected = 0.75 if metric.is_complement else 0.25
    assert metric.of(table).tolist() == pytest.approx([expected, np.nan], nan_ok=True)


def test_a_table_without_the_column_has_missing_values():
    assert find_metric("val_error").of(pd.DataFrame({"epoch": [0, 1]})).isna().tolist() == [True, True]


def test_columns_of_a_later_version_are_metrics_too():
    assert find_metric("f1", ["f1"]).of(pd.DataFrame({"f1": [0.25]})).tolist() == [0.25]
    assert find_metric("1-f1", ["f1"]).of(pd.DataFrame({"f1": [0.25]})).tolist() == [0.75]


def test_an_unknown_metric_is_refused_with_those_that_there_are():
    with pytest.raises(UsageError, match=r"figures\.metric=test_eror: .* test_error, .*, f1"):
        find_metric("test_eror", ["f1"])
