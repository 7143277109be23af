import math
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from bokeh.embed.util import contains_tex_string
from omegaconf import OmegaConf

from senet_lab.text import byte_size, clock, counted, csv_table, label, literal, number, plain


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


def test_sizes() -> None:
    assert [byte_size(count) for count in (0, 450_000, 999_900_000, 10**9, 1_234_560_000_000)] == [
        *("0.0 MB", "0.5 MB", "999.9 MB", "1.0 GB", "1,234.6 GB"),
    ]


def test_durations() -> None:
    assert [clock(seconds) for seconds in (0, 59.6, 3600 * 30 + 61, math.nan)] == [
        *("0:00:00", "0:01:00", "30:01:01", "–"),
    ]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("α·σ(x), 中 é", "α·σ(x), 中 é"),
        ("\x1b[31mred\x1b[0m\x07", r"\x1b[31mred\x1b[0m\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("one\n\ttwo\r\nthree\xa0four", "one  two  three four"),
        ("safe\u202egnp.exe", r"safe\u202egnp.exe"),
        ("a\u2028b\u200bc", r"a b\u200bc"),
        ("\ud800", r"\ud800"),
    ],
)
def test_plain_text_only_shows(given: str, shown: str) -> None:
    assert plain(given) == shown
    assert plain(shown) == shown


def test_plain_text_keeps_lines_where_it_should() -> None:
    assert plain("one\n\ttwo\x1b[2J\n", keep_lines=True) == "one\n two\\x1b[2J"


@pytest.mark.parametrize("given", [r"$$x$$", r"\(x\)", r"\[x\]", "a $$\n$$ b"])
def test_a_label_is_no_tex(given: str) -> None:
    assert contains_tex_string(given)
    assert not contains_tex_string(label(given))
    assert label(given).replace(" ", "") == plain(given).replace(" ", "")
    assert label(label(given)) == label(given)


@pytest.mark.parametrize(
    "given",
    [
        "${oc.env:HOME}",
        r"\${oc.env:HOME}",
        r"\\${oc.env:HOME}",
        "${${lr}}",
        "${",
        "$${lr}",
        "}${lr",
        r"\\",
        r"C:\x ${lr}",
    ],
)
def test_a_literal_is_no_interpolation(given: str) -> None:
    config = OmegaConf.create({"lr": 1, "label": literal(given), "line": "${label}, ${label}"})
    assert OmegaConf.to_container(config, resolve=True) == {
        "lr": 1,
        "label": given,
        "line": f"{given}, {given}",
    }
    assert literal({"a": [given, 1], "b": None}) == {"a": [literal(given), 1], "b": None}


def test_a_csv_table_holds_no_formula_and_keeps_its_numbers() -> None:
    texts = ["=1+1", " +x", "-5", "@y", "\t=z", "\x1b[31m", "a=b", 'q,"uote', "", None]
    frame = pd.DataFrame({"text": texts, "number": [-1.5, np.nan, *range(8)], "count": range(10)})
    frame["maybe"] = pd.array([None, *range(-8, 1)], dtype="Int64")
    text = csv_table(frame)
    back = pd.read_csv(StringIO(text), keep_default_na=False, na_values={"number": "", "maybe": ""})
    assert back["text"].tolist() == [
        *("'=1+1", "' +x", "'-5", "'@y", "' =z", r"\x1b[31m", "a=b", 'q,"uote', "", ""),
    ]
    assert text.splitlines()[1:4] == ["'=1+1,-1.5,0,", "' +x,,1,-8", "'-5,0.0,2,-7"]
    assert texts[0] == frame["text"][0], "the frame stays as it was"


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0 points"), (1, "1 point"), (1.0, "1 point"), (0.5, "0.5 points"), (2000, "2,000 points")],
)
def test_one_of_a_kind_is_no_plural(count: float, told: str) -> None:
    assert counted(count, "point") == told
