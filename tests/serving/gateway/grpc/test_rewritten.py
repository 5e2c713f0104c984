"""A repeated field is replaced where it stood, so that a message that says the same has the same bytes."""

from __future__ import annotations

from serving.gateway.grpc.messages import rewritten, text, whole

NAME, PLATFORM, ONE, TWO = text(1, b"echo"), text(3, b"python"), text(2, b"1"), text(2, b"2")


def test_the_same_values_give_the_same_bytes() -> None:
    """What is replaced by itself is not moved."""
    message = NAME + ONE + PLATFORM
    assert rewritten(message, 2, [b"1"]) == message


def test_values_stand_where_the_first_one_stood() -> None:
    """More or fewer of them, and those that were scattered, stand together there."""
    assert rewritten(NAME + ONE + PLATFORM, 2, [b"1", b"2"]) == NAME + ONE + TWO + PLATFORM
    assert rewritten(NAME + ONE + PLATFORM + TWO, 2, [b"2"]) == NAME + TWO + PLATFORM
    assert rewritten(NAME + ONE + PLATFORM, 2, []) == NAME + PLATFORM


def test_values_that_were_not_there_come_last() -> None:
    """A message without the field gets it at its end."""
    assert rewritten(NAME + whole(5, 1), 2, [b"1"]) == NAME + whole(5, 1) + ONE
