"""What goes on beside a block ends with it, and is not silent about what it died of."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from loadtests.beside import Beside
from loadtests.installation import Failed


class Doing(Beside):
    """Does what a test says, once it is told that it is over."""

    ends_within_s = 5.0

    def __init__(self, does: Callable[[], object]) -> None:
        super().__init__()
        self._does = does

    def goes_on(self) -> None:
        """Waits, and does it."""
        assert self.over.wait(60)
        self._does()


def fails() -> None:
    """Fails."""
    raise ZeroDivisionError


def test_it_goes_on_until_the_block_ends() -> None:
    """And no longer."""
    done: list[int] = []
    with Doing(lambda: done.append(1)) as doing:
        assert not done
        assert doing._thread.is_alive()
    assert done == [1]
    assert not doing._thread.is_alive()


def test_what_it_dies_of_is_raised_where_the_block_ends() -> None:
    """Beside what the block itself died of."""
    with pytest.raises(ZeroDivisionError), Doing(fails):
        pass
    with pytest.raises(ZeroDivisionError) as raised, Doing(fails):
        raise KeyError
    assert isinstance(raised.value.__context__, KeyError)


def test_one_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, after its patience."""
    monkeypatch.setattr(Doing, "ends_within_s", 0.01)
    ends = threading.Event()
    with pytest.raises(Failed, match=r"\(Doing\) did not end within 0\.01 s"), Doing(lambda: ends.wait(60)) as doing:
        pass
    ends.set()
    doing._thread.join(60)
