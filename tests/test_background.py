import pytest

from senet_lab.background import Background


class Full(Background):
    """Work that fails as an output without space does."""

    def work(self) -> None:
        raise OSError(28, "No space left on device")


def test_an_output_that_fails_a_thread_is_raised_where_the_thread_ends() -> None:
    ended = False
    with pytest.raises(OSError, match="No space left on device"), Full():
        ended = True
    assert ended


def test_an_error_of_the_work_beside_it_comes_first() -> None:
    with pytest.raises(KeyError), Full():
        raise KeyError
