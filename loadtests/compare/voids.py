"""Whose failure costs what: the gateway's ends the run, a peer's figure is taken again, and the report says so.

A peer that fails for a moment says nothing of the gateway, and ten minutes of figures are not to be thrown away for
it. One that fails again and again is not there to be compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from loadtests.compare.errors import Void
from loadtests.compare.plan import PEERS

MOST_AGAIN: Final = 2
"""So often one figure of a peer is taken again."""
Figure = TypeVar("Figure")


def taken(path: str, take: Callable[[], Figure], again: Callable[[str], None]) -> Figure:
    """What `take` finds on this path.

    Args:
        path: what the requests go through.
        take: measures.
        again: told why a figure was void, before it is taken again.

    Raises:
        Void: the gateway's figure was void, or a peer's time after time; it names the path.
    """
    left = MOST_AGAIN if path in PEERS else 0
    while True:
        try:
            return take()
        except Void as error:
            why = f"{path}: {error}"
            if not left:
                raise Void(why) from error
        left -= 1
        again(why)
