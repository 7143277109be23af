import pytest

from senet_lab.dotted import difference, get_value, leaves, set_value

NODE = {"lr": 0.1, "model": {"name": "cnn3", "widths": [8, 16], "block": {"depth": 2}}, "empty": {}}


def test_every_leaf_is_found_again_by_its_key() -> None:
    found = dict(leaves(NODE))
    assert list(found) == ["lr", "model.name", "model.widths", "model.block.depth"]
    assert all(get_value(NODE, key) == value for key, value in found.items())


def test_a_value_is_set_where_it_is_read() -> None:
    node = {"model": {"block": {"depth": 2, "width": 1}}}
    set_value(node, "model.block.depth", 5)
    assert node == {"model": {"block": {"depth": 5, "width": 1}}}
    set_value(node, "seed", 0)
    assert get_value(node, "seed") == 0


@pytest.mark.parametrize("key", ["nothing", "model.nothing", "lr.nothing", "model.name.nothing"])
def test_a_key_that_is_not_there(key: str) -> None:
    with pytest.raises(KeyError):
        get_value(NODE, key)


def test_the_first_difference_is_named_with_both_values() -> None:
    other = {"lr": 0.1, "model": {"name": "cnn3", "widths": [8, 16], "block": {"depth": 3}}, "seed": 1}
    assert difference(NODE, other) == ("model.block.depth", 2, 3)
    assert difference({"a": 1}, {"a": 1, "b": 2}) == ("b", None, 2)
    with pytest.raises(ValueError, match="equal"):
        difference(NODE, dict(NODE))
