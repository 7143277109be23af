"""A part of `fuzz.py`: the same cases each time."""

from pathlib import Path

from fuzz import READERS, alarmed, check_command_line, check_record, command_lines, fuzz, prepared, records


def test_damaged_records(tmp_path: Path) -> None:
    with prepared(tmp_path):
        fuzz(lambda case: check_record(tmp_path, case), records(READERS), 175, is_fixed=True)


def test_odd_command_lines(tmp_path: Path) -> None:
    with alarmed():
        fuzz(lambda words: check_command_line(tmp_path, words), command_lines(), 25, is_fixed=True)
