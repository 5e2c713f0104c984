"""A rollout's cases as they are on file: for operators' commands, for people, and for whoever replays them.

Where the loop runs in this process it is asked, for it knows what is not on file yet; else what it keeps is read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

from router.rollout import Evidence
from router.verdicts.shown import Shown, shown
from serving.control.errors import Unacceptable
from serving.control.rolling.evidence import Counts, decode_counts
from serving.control.rolling.judged import Judged, decode_judged, tried_in
from serving.control.rolling.records import Record
from serving.control.rolling.weighing import Basis, verdicts_of, weighed

_PAGE: Final = 500


class Files(Protocol):
    """Where they are kept."""

    async def counts(self, rollout_id: str) -> str | None:
        """What was kept of that rollout's counts."""

    async def case(self, rollout_id: str) -> str | None:
        """What was kept of that rollout's case."""

    async def blocks(self, rollout_id: str, begin: int, limit: int) -> Sequence[str]:
        """Blocks of that rollout, oldest first, from that place on."""


class Knows(Protocol):
    """The loop, where it runs in this process."""

    def evidence(self, rollout_id: str) -> Evidence | None:
        """What was last known of that rollout."""

    def judged(self, rollout_id: str) -> Judged | None:
        """The cases of its candidates."""


class Cases:
    """The cases of all rollouts.

    Args:
        files: where they are kept.
        loop: what knows more.
    """

    def __init__(self, files: Files, loop: Knows) -> None:
        self._files = files
        self._loop = loop

    async def evidence(self, record: Record, now_s: float) -> Evidence | None:
        """What is known of the rollout's present leg."""
        known = self._loop.evidence(record.id)
        if known is not None and known.leg == record.rollout.leg:
            return known
        counts, judged = await self._counts(record), await self._judged(record)
        verdicts = verdicts_of(record, counts, judged)
        basis = Basis(record, tried_in(record.rollout), counts, judged, verdicts)
        return weighed(basis, quiet_s=0.0, now_s=now_s)

    async def verdicts(self, record: Record, now_s: float) -> Mapping[int, Shown]:
        """The case of every candidate that was heard of, as people are shown it."""
        del now_s
        judged = await self._judged(record)
        if judged is None:
            return {}
        counts = await self._counts(record)
        requests = {} if counts is None else counts.requests()
        return {
            version: shown(arm.case, arm.verdict(record.rollout, requests.get(version, 0)))
            for version, arm in judged.arms.items()
        }

    async def blocks(self, rollout_id: str, version: int) -> AsyncIterator[str]:
        """What was recorded of that version, a line each with its end, oldest first."""
        place, mark = 0, f"{version} "
        while page := await self._files.blocks(rollout_id, place, _PAGE):
            for line in page:
                if line.startswith(mark):
                    yield line.removeprefix(mark) + "\n"
            place += len(page)

    async def judged(self, record: Record) -> Judged | None:
        """The cases of its candidates, as far as they are known."""
        return await self._judged(record)

    async def _judged(self, record: Record) -> Judged | None:
        known = self._loop.judged(record.id)
        if known is not None:
            return known
        said = await self._files.case(record.id)
        with suppress(ValueError):
            return None if said is None else decode_judged(said, record.rollout.plan)
        return None

    async def _counts(self, record: Record) -> Counts | None:
        said = await self._files.counts(record.id)
        with suppress(ValueError):
            return None if said is None else decode_counts(said)
        return None


def candidate_of(record: Record, version: int | None) -> int:
    """The candidate that is meant.

    Raises:
        Unacceptable: it has several, or not that one.
    """
    plan = record.rollout.plan
    there = tuple(dict.fromkeys([*([] if plan.candidate is None else [plan.candidate]), *plan.places]))
    if version is None and (plan.candidate is not None or len(there) == 1):
        return there[0]
    if version in there:
        return version
    listed = ", ".join(map(str, there)) or "none"
    raise Unacceptable(
        f"The rollout {record.id} has {'several candidates' if version is None else f'no candidate {version}'}.",
        f"Name one of these with `version`: {listed}.",
    )
