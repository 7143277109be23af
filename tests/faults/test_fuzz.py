"""A part of `fuzz.py`: the same cases each time."""

import random
from pathlib import Path
from typing import Any

import fuzz
import pytest
from hypothesis import strategies as st
from odd_files import checkpoints, data_files
from odd_words import WRONG_WORDS


@pytest.mark.parametrize(
    ("check", "cases", "count"),
    [
        (fuzz.check_record, fuzz.records(fuzz.READERS), 175),
        (fuzz.check_data, data_files(), 150),
        (fuzz.check_checkpoint, checkpoints(), 40),
    ],
)
def test_damaged_files(tmp_path: Path, check: fuzz.Check, cases: st.SearchStrategy[Any], count: int) -> None:
    with fuzz.prepared(tmp_path):
        fuzz.fuzz(check, cases, count, tmp_path)


def test_wrong_command_lines(tmp_path: Path) -> None:
    with fuzz.composed_once():
        for word in random.Random(0).sample(WRONG_WORDS, 40):  # those that Hydra composes take 0.2 s each
            fuzz.check_wrong(tmp_path, word)
