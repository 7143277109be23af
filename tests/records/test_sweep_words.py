"""A hint names the sweep so that the command finds it."""

from pathlib import Path

from senet_lab.records.sweep import sweep_directory


def test_the_words_name_another_folder_than_the_default_and_quote_spaces() -> None:
    assert sweep_directory("outputs", "first").words == "name=first"
    assert sweep_directory("/data/my runs", "first").words == "name=first 'outputs=/data/my runs'"
    assert sweep_directory("outputs", "first").path == Path("outputs/first")
