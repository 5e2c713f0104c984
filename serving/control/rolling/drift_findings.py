"""What follows from a finding of drift at once: the ledger says it, webhooks hear it, and a broken schema pauses.

What it is put down to follows later, when all versions were looked at (`drift_incidents`); here it is gathered into
the model's episode.

Findings are read from the sidecar's stream in their order, by whoever leads. What follows from one is written by the
very script that moves on to the next, so that each is told once, however often the conductor is killed: nothing is
told of a finding that was not heard, and none is heard twice. Pausing comes first, and does no harm when it is done
again: the rollout's cause names the finding. One that nobody can read is passed over, and said so.

Deliveries to the webhooks of the settings wait in the queue that those of rollouts wait in (`hooks`): a job of theirs
names `DRIFT` in the place of a rollout, and the address by its number, so that it still finds its way when the
settings list others before it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from drift.findings import Finding
from router.commands import Command, Pause
from router.phases import Phase
from serving.control.drift_store import Found
from serving.control.errors import Contended, NotNow, StoreDamaged, UnknownRollout
from serving.control.publication import Answer, Beside, HeardFinding, Job, LedgerEntry, Refused
from serving.control.publishing import refuse
from serving.control.rolling.drift_incidents import Gathered
from serving.control.rolling.drift_telling import Hears, jobs_of, write_of
from serving.control.rolling.drift_telling import entry_of as told_of
from serving.control.rolling.hooks import DRIFT, FOUND
from serving.control.rolling.kept import Look
from serving.control.rolling.records import Record
from serving.control.rolling.views import RolloutChange

_log = logging.getLogger(__name__)

WHO: Final = "the drift sidecar"

_AT_ONCE: Final = 50


class Reads(Protocol):
    """What this needs of a store."""

    async def heard_finding(self) -> str:
        """The id of the finding that was heard last; empty for none."""

    async def drift_findings_after(self, after: str, limit: int) -> Sequence[Found]:
        """The oldest findings after that id, oldest first."""

    async def look(self) -> Look:
        """The time, the rollouts in progress, and what is stopped."""

    async def note(self, beside: Beside) -> Answer:
        """Writes all of that where no policy changes, or nothing."""


class Gathers(Protocol):
    """Who keeps episodes (`drift_incidents`)."""

    async def may_pause(self, model: str) -> bool:
        """Whether a broken schema is to pause the model's rollout."""

    async def gathered(self, finding_id: str, finding: Finding, paused: str, fence: int) -> Gathered:
        """What that finding leads to."""


class Asks(Protocol):
    """Who commands rollouts (`serving.control.rolling.service`)."""

    async def ask(
        self, rollout_id: str, command: Callable[[Record], Command], *, expected: int | None, wait_s: float = 2.0
    ) -> RolloutChange:
        """Does what is asked."""


class FindingsHeard:
    """Hears findings of drift.

    Args:
        store: where they are, and where what follows is written.
        rollouts: commands them.
        hooks: webhooks of the settings, by `number_of` their address.
        incidents: gathers findings into episodes.
    """

    def __init__(self, store: Reads, rollouts: Asks, hooks: Mapping[int, Hears], incidents: Gathers) -> None:
        self._store = store
        self._rollouts = rollouts
        self._hooks = hooks
        self._incidents = incidents

    async def hear(self, fence: int) -> int:
        """Hears what was found since the last time; how many findings were heard.

        Args:
            fence: of the conductor that leads.

        Raises:
            Deposed: another conductor has taken over.
        """
        after = await self._store.heard_finding()
        heard = 0
        for one in await self._store.drift_findings_after(after, _AT_ONCE):
            if not await self._hear(one, after, fence):
                break
            after, heard = one.id, heard + 1
        return heard

    async def _hear(self, found: Found, after: str, fence: int) -> bool:
        """Whether it was heard now; else somebody else did."""
        if found.finding is None:
            _log.warning("the finding %s is passed over: it cannot be read", found.id)
            beside = Beside(fence=fence, heard=HeardFinding(after, found.id))
        else:
            beside = await self._follows(found.id, found.finding, after, fence)
        answer = await self._store.note(beside)
        if answer.refused in {Refused.HEARD, Refused.EPISODE}:
            return False
        refuse(answer)
        return answer.done

    async def _follows(self, finding_id: str, finding: Finding, after: str, fence: int) -> Beside:
        """What is written of it, beside that it is heard."""
        broken = bool(finding.breaks) and await self._incidents.may_pause(finding.model)
        paused = await self._pause(finding_id, finding) if broken else ""
        jobs = [Job(0, DRIFT, number) for number, hook in self._hooks.items() if hook.hears(FOUND)]
        entries = [entry_of(finding_id, finding, paused)]
        gathered = await self._incidents.gathered(finding_id, finding, paused, fence)
        for step in gathered.steps:
            jobs += jobs_of(step.kind, len(entries), self._hooks)
            entries.append(told_of(step, gathered.known, self._hooks))
        return Beside(
            entries=tuple(entries), jobs=tuple(jobs), fence=fence, heard=HeardFinding(after, finding_id),
            incidents=(write_of(gathered.incident, gathered.replaces),),
        )  # fmt: skip

    async def _pause(self, finding_id: str, finding: Finding) -> str:
        """The id of the model's rollout that is paused for it; empty for none."""
        records = (await self._store.look()).records
        record = next((one for one in records if one.model == finding.model), None)
        why = f"the schema has drifted (finding {finding_id}): {finding}"[:1_000]
        if record is None or record.rollout.phase is Phase.PAUSED:
            return "" if record is None or record.rollout.cause != why else record.id
        try:
            await self._rollouts.ask(record.id, lambda _: Pause(who=WHO, why=why), expected=None, wait_s=0.0)
        except (NotNow, UnknownRollout, Contended, StoreDamaged) as error:
            _log.warning("the rollout %s is not paused for what drifted: %s", record.id, error.sentence)
            return ""
        return record.id


def entry_of(finding_id: str, finding: Finding, paused: str = "") -> LedgerEntry:
    """The ledger's entry about a finding; histograms stay where the finding is.

    Args:
        finding_id: its id.
        finding: what was found.
        paused: the rollout that was paused for it; empty for none.
    """
    said = finding.plain()
    features: list[dict[str, Any]] = [
        {**one["moved"], "share": one["share"]} for one in said.pop("changes") if one["share"] > 0
    ]
    facts = {
        **said,
        "layer": finding.layer.value,
        "breaks": [{**one, "how": str(one["how"])} for one in said["breaks"]],
        "features": features,
        "finding": finding_id,
        "what": "finding",
        "event": "finding",
        "paused": paused,
        "words": str(finding),
    }
    return LedgerEntry(DRIFT, WHO, str(finding), facts)


def number_of(url: str) -> int:
    """The number of a webhook of the settings: the same as long as its address is."""
    return int.from_bytes(hashlib.sha256(url.encode()).digest()[:6], "big")
