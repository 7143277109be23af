import math

import numpy as np
import pandas as pd
import pytest

from senet_lab.text import number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12344, "0.1234"),
        (np.float64(-0.5), "-0.5000"),
        (0.0, "0.0000"),
        (0.00001, "1.0e-05"),
        (123456.7, "123,457"),
        (7, "7"),
        (np.int64(7), "7"),
        (math.inf, "inf"),
        (math.nan, "–"),
        (None, "–"),
        (pd.NA, "–"),
    ],
)
def test_numbers(value: object, text: str) -> None:
    assert number(value) == text
