"""What the sidecar leaves in Redis, for people and for whoever acts on it: statuses, windows, findings. Read-only here.

Part of `serving.control.store`. What is written under these keys is the sidecar's own (`drift.store`); which finding
the conductor heard last is moved by `publish.lua` alone, with what follows from it.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from drift import findings, status
from drift.errors import DriftError
from drift.findings import Finding
from drift.keys import DriftKeys
from drift.status import Status, WindowSeen
from serving.control.base_store import BaseStore, reply
from serving.control.rolling.shelf import BEGINNING, place_of

MOST_FINDINGS: Final = 1_000
"""How many findings are read at once."""

_ODD: Final = (DriftError, ValueError, TypeError, OverflowError, RecursionError)
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")
_UNREADABLE: Final = "What the sidecar wrote of it cannot be read: it is of another release."


class Found(NamedTuple):
    """A finding as the stream has it: under an id that begins with milliseconds; None where nobody can read it."""

    id: str
    finding: Finding | None


class DriftStore(BaseStore):
    """What is known of drift."""

    @property
    def _drift(self) -> DriftKeys:
        return DriftKeys(self.keys.namespace)

    async def drift_statuses(self) -> Sequence[Status]:
        """How each version is watched, by model and version."""
        async with self._boundary():
            said = await reply(self._redis.hgetall(self._drift.status))
        found = [_status(field.decode(errors="replace"), text) for field, text in said.items()]
        return sorted(found, key=lambda one: (one.model, one.version))

    async def drift_windows(self, model: str, version: int) -> Sequence[WindowSeen]:
        """The windows of that version that are remembered, oldest first; those that nobody can read are left out."""
        async with self._boundary():
            said = await reply(self._redis.lrange(self._drift.history(model, version), 0, -1))
        return list(_windows(said))

    async def drift_findings(self, limit: int, before: str = "") -> Sequence[Found]:
        """The newest findings, newest first; of those before that id, where one is given."""
        place = place_of(before) if before else None
        if place == BEGINNING:
            return []
        newest = "+" if place is None else f"({place[0]}-{place[1]}"
        async with self._boundary():
            count = max(1, min(limit, MOST_FINDINGS))
            return _found(await reply(self._redis.xrevrange(self._drift.findings, max=newest, count=count)))

    async def drift_findings_after(self, after: str, limit: int) -> Sequence[Found]:
        """The oldest findings after that id (empty: from the beginning), oldest first."""
        oldest = "({}-{}".format(*place_of(after)) if after else "-"
        async with self._boundary():
            count = max(1, min(limit, MOST_FINDINGS))
            return _found(await reply(self._redis.xrange(self._drift.findings, min=oldest, count=count)))

    async def heard_finding(self) -> str:
        """The id of the finding that was heard last; empty for none."""
        async with self._boundary():
            said = await reply(self._redis.get(self.keys.heard_finding))
            return "" if said is None else str(said.decode())


def _status(field: str, said: bytes) -> Status:
    model, _, number = field.rpartition("/")
    version = int(number) if _NUMBER.fullmatch(number) else 0
    with suppress(*_ODD):
        found = status.read(_legible(json.loads(said)))
        if (found.model, found.version) == (model, version):
            return found
    return Status(model, version, "", _UNREADABLE, 0.0)


def _windows(said: Iterable[bytes]) -> Iterable[WindowSeen]:
    for text in said:
        with suppress(*_ODD):
            yield status.window_read(_legible(json.loads(text)))


def _found(said: Any) -> Sequence[Found]:  # noqa: ANN401 - redis-py types its replies for all of its clients
    return [Found(entry.decode(), _finding(fields.get(b"f", b""))) for entry, fields in said]


def _finding(said: bytes) -> Finding | None:
    with suppress(*_ODD):
        return findings.read(_legible(json.loads(said)))
    return None


def _legible(said: Any) -> Any:  # noqa: ANN401 - JSON's
    """The same as JSON can be sent on: names of columns come from strangers, and no JSON has infinities."""
    if isinstance(said, float) and not math.isfinite(said):
        return 0.0 if math.isnan(said) else math.copysign(sys.float_info.max, said)
    if isinstance(said, str):
        return said.encode(errors="replace").decode()
    if isinstance(said, list):
        return [_legible(one) for one in said]
    return {_legible(name): _legible(one) for name, one in said.items()} if isinstance(said, dict) else said
