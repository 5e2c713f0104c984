"""Load that does not stop while a test does something else, every answer of which is judged when it is over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from loadtests.beside import Beside
from loadtests.steady import Answer, Steady
from loadtests.verify import Judged, Noted, Notes, Published, judge
from router.choose import Facts, Reason, shadowed
from router.match import SILENT, Said

MODEL = "numbered"
RATE = 100.0
_UNITS = 10_000
_STAFF_EVERY = 5
_STAFF = Said({b"x-tier": b"staff"})


class Seen(NamedTuple):
    """A version that somebody got, and why."""

    version: int
    reason: Reason


class Load(Beside):
    """Requests at a constant rate for as long as the block lasts; each names a unit, every fifth says it is staff.

    Args:
        host: of the gateway.
        port: of the gateway.
        rate: requests a second.
        key: that is shown; empty for none.
    """

    def __init__(self, host: str, port: int, rate: float = RATE, *, key: str = "") -> None:
        super().__init__()
        self.notes = Notes()
        self.mistaken: list[str] = []
        self._place = host, port
        self._rate = rate
        self._shown = f"authorization: Bearer {key}\r\n" if key else ""

    def goes_on(self) -> None:
        """Sends, and hears."""
        asyncio.run(self._send())

    def judged(self, entries: Iterable[Mapping[str, Any]]) -> Judged:
        """All answers against `choose` and the policies that the ledger has; not one may have failed or be wrong."""
        judged = judge(self.notes, Published(MODEL, entries), facts)
        assert self.notes.failed == 0, self.notes.told
        assert (judged.wrong, judged.fallbacks) == (0, 0), judged.told
        assert self.mistaken == []
        assert judged.right == len(self.notes) > 0
        return judged

    def seen(self, *, staff: bool, since: int = 0, before: int | None = None) -> set[Seen]:
        """What they got in the epochs from `since` on, up to the one before `before`."""
        return {
            Seen(one.version, one.reason)
            for one in self._within(since, before)
            if (one.number % _STAFF_EVERY == 0) is staff
        }

    def copies_due(self, entries: Iterable[Mapping[str, Any]], version: int) -> int:
        """How many of the requests a version was to get a copy of."""
        published = Published(MODEL, entries)
        copied = 0
        for one in self.notes:
            policy, said = published.at(one.epoch), facts(one.number)
            copied += policy is not None and version in shadowed(policy, said.unit, said.said)
        return copied

    def _within(self, since: int, before: int | None) -> Iterator[Noted]:
        return (one for one in self.notes if since <= one.epoch and (before is None or one.epoch < before))

    async def _send(self) -> None:
        async with Steady(*self._place, self._rate, self._request, self._hear):
            await asyncio.to_thread(self.over.wait)

    def _request(self, number: int) -> bytes:
        body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number % 1000]}]})
        tier = "" if number % _STAFF_EVERY else "x-tier: staff\r\n"
        head = (
            f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nhost: sluice\r\ncontent-type: application/json\r\n{tier}"
            f"{self._shown}sluice-unit: {_unit(number)}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return f"{head}{body}".encode()

    def _hear(self, answer: Answer) -> None:
        self.notes.hear(answer)
        if answer.status == 200:
            made_as = {tensor["data"][0] for tensor in json.loads(answer.body)["outputs"]}
            if made_as != {int(answer.headers["sluice-version"])}:
                self.mistaken.append(f"request {answer.number}: {made_as} answered for {answer.headers}")


def facts(number: int) -> Facts:
    """What request number n says about itself."""
    return Facts(_unit(number).encode(), said=SILENT if number % _STAFF_EVERY else _STAFF)


def _unit(number: int) -> str:
    return f"customer-{number % _UNITS}"
