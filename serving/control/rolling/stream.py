"""A stream of messages that many processes write, read so that each message is met once."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from serving.control.errors import StoreDamaged
from serving.control.evidence_store import Told
from serving.control.rolling.shelf import place_of

_log = logging.getLogger(__name__)

LOOK_BACK_S: Final = 15.0
"""How far before the last look reading begins: there is one whole message of everybody who writes in that time."""
_PAGE: Final = 1_000
_MOST_PAGES: Final = 20
_MOST_COMPLAINTS: Final = 1_000
_Message = TypeVar("_Message")


class Wording(NamedTuple):
    """How the log names what is in the stream.

    Attributes:
        all_of_it: as in "{what gateways have counted} cannot be read".
        one: as in "{a gateway's totals} are not heard".
    """

    all_of_it: str
    one: str


class Stream(Generic[_Message]):
    """Where reading stands.

    Args:
        after: the oldest messages after an id, oldest first, and at most so many.
        decode: raises ValueError for bytes that are none of these messages.
        wording: for the log.
    """

    def __init__(
        self,
        after: Callable[[str, int], Awaitable[Sequence[Told]]],
        decode: Callable[[bytes], _Message],
        wording: Wording,
    ) -> None:
        self._after = after
        self._decode = decode
        self._wording = wording
        self._last: str | None = None
        self._complaints: set[str] = set()

    def begin(self, since_s: float) -> None:
        """Begins anew, with what was said since shortly before that time, by the store's clock."""
        self._last = str(max(0, round((since_s - LOOK_BACK_S) * 1000)))

    async def new(self) -> AsyncIterator[tuple[float, _Message]]:
        """When each message came that is new and can be read, in seconds by the store's clock, and what it says.

        Raises:
            StoreUnavailable: the store is away.
        """
        for entry in await self._entries():
            try:
                message = self._decode(entry.said)
            except ValueError as error:
                self._complain(f"{self._wording.one} are not heard", str(error)[:200])
            else:
                yield place_of(entry.id)[0] / 1000, message

    async def _entries(self) -> Sequence[Told]:
        found: list[Told] = []
        if self._last is None:
            return found
        try:
            for _ in range(_MOST_PAGES):
                page = await self._after(self._last, _PAGE)
                found += page
                if page:
                    self._last = page[-1].id
                if len(page) < _PAGE:
                    break
        except StoreDamaged as error:  # nothing is heard then, and what waits for evidence waits on
            self._complain(f"{self._wording.all_of_it} cannot be read", str(error))
        return found

    def _complain(self, what: str, why: str) -> None:
        """Once of each thing, or a damaged message in every second fills the log."""
        if why not in self._complaints and len(self._complaints) < _MOST_COMPLAINTS:
            self._complaints.add(why)
            _log.warning("%s: %s", what, why)
