"""Whatever another process hands over is what it should be, or a ValueError with a sentence of bounded length."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.handed import MOST, number, object_of, seconds, text, told

_ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.none())


@given(_ANYTHING, st.integers(0, 5), st.integers(5, 2**64))
def test_a_whole_number_is_one_within_its_bounds(value: object, least: int, most: int) -> None:
    """And true is none."""
    if type(value) is int and least <= value <= most:
        number(value, "a total", least=least, most=most)
    else:
        with pytest.raises(ValueError, match="is not a total: a whole number from"):
            number(value, "a total", least=least, most=most)


@given(_ANYTHING, st.integers(0, 3), st.integers(3, 10))
def test_a_text_has_so_many_characters(value: object, least: int, most: int) -> None:
    """It is handed back; bytes are none."""
    if isinstance(value, str) and least <= len(value) <= most:
        assert text(value, least=least, most=most) == value
    else:
        with pytest.raises(ValueError, match="is no text of"):
            text(value, least=least, most=most)


@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), float("inf"), True, "1", None])
def test_a_time_is_neither_negative_nor_without_end(value: object) -> None:
    """What is, is none."""
    seconds(0)
    seconds(1_700_000_000.25)
    with pytest.raises(ValueError, match="is no time"):
        seconds(value)


@given(_ANYTHING.filter(lambda value: not isinstance(value, bytes)))
def test_an_object_is_a_json_object(value: object) -> None:
    """Any other JSON is refused."""
    assert object_of(json.dumps({"a": [1]}).encode()) == {"a": [1]}
    with pytest.raises(ValueError, match="a JSON object here"):
        object_of(json.dumps(value).encode())


@pytest.mark.parametrize(
    "read",
    [
        lambda payload: {}[payload], lambda payload: payload + 1, lambda payload: payload.items(),
        lambda payload: payload[99], lambda payload: (2 << 70).to_bytes(len(payload)),
        lambda payload: json.loads(b"[" * 100_000 + payload),
    ],
)  # fmt: skip
def test_damage_of_any_kind_is_a_value_error(read: object) -> None:
    """Members that are missing, of another kind, too few, too large, nested too deep."""
    with pytest.raises(ValueError, match="what was handed over is damaged"):
        told(read, b"payload")  # type: ignore[arg-type]


def test_what_is_wrong_is_told_in_few_words() -> None:
    """However long it is."""
    for refused in (lambda: text("a" * 9_999, most=5), lambda: number("a" * 9_999, "a total")):
        with pytest.raises(ValueError, match="aaa") as error:
            refused()
        assert len(str(error.value)) < 120
    with pytest.raises(ValueError, match="damaged") as error:
        told(lambda payload: json.loads("{}")[payload], b"a" * 9_999)
    assert len(str(error.value)) < 300
    assert text("a" * 9_999, most=MOST)
