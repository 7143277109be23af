"""Tables: boxes as wide as the terminal, and elsewhere plain lines that hold everything."""

import re

import pytest

from senet_lab.commands.terminal import print_table

LONG = "x" * 200
ROWS = [("a", 0.5, LONG), ("a", float("nan"), "\x1b[31mred"), ("b", 3, "[bold]")]


def test_a_table_in_a_pipe_is_plain_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "value", "text"), ROWS, "A title", has_sections=True)
    assert capsys.readouterr().out.splitlines() == [
        "A title",
        "name  value   text",
        f"a     0.5000  {LONG}",
        r"a     –       \x1b[31mred",
        "b     3       [bold]",
    ]


def test_a_table_on_a_terminal_is_as_wide_as_it_and_cuts_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    print_table(("name", "value", "text"), ROWS, "A title", has_sections=True)
    told = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert max(map(len, told.splitlines())) == 80
    assert told.count("x") == 202  # one is in the heading, one in the escape
    assert "…" not in told
    rows = [line.split("│")[1].strip() for line in told.splitlines() if line.startswith("│")]
    assert [name for name in rows if name] == ["a", "b"], "a section names its first cell once"
