"""A part of `fuzz.py`: the same damaged records each time; odd command lines are left to the long run."""

from pathlib import Path

from fuzz import READERS, check_record, fuzz, prepared, records


def test_damaged_records(tmp_path: Path) -> None:
    with prepared(tmp_path):
        fuzz(lambda case: check_record(tmp_path, case), records(READERS), 175, is_fixed=True)
