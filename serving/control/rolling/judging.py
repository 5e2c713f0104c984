"""The judge of all rollouts in progress: hears what gateways tell, folds it into cases, and keeps them.

What a case is, and what it is enough for, is `router.verdicts`; what the machine is shown, `weighing`. Here is what a
conductor does: each message is heard once, by the candidates of its model alone; a case is kept with its rollout once a
second, by whoever leads and nobody else, together with the blocks that it grew by. A successor reads the cases, hears
the stream from shortly before, and goes on with what had been judged and not an hour less.

A case that nobody can read is begun anew, and the log and the ledger say so.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from router.rollout import BY_ITSELF, Evidence, Seen, fact
from router.verdicts.blocks import LATE_S, Blocks
from router.verdicts.moment_form import encode_moment
from router.verdicts.pair_blocks import PairsGrown
from router.verdicts.shown import shown
from router.verdicts.tallies import Moment
from serving.control.evidence_store import MOST_BLOCKS
from serving.control.publication import Answer, Beside
from serving.control.rolling.evidence import Counts
from serving.control.rolling.hearing import Braking, Heard, Hearing, Hears
from serving.control.rolling.judged import Arm, Judged, Tried, decode_judged, tried_in
from serving.control.rolling.pair_hearing import HearsPairs, PairHearing
from serving.control.rolling.records import Record, entry_of, jobs_of
from serving.control.rolling.rewarded import EvidenceError, metrics_in, scope_of, told_of, wants_feedback
from serving.control.rolling.spreads import Odds, Weight
from serving.control.rolling.steady import Steady
from serving.control.rolling.weighing import Basis, Verdicts, at, verdicts_of, weighed
from serving.leases import GatewayLease

_log = logging.getLogger(__name__)

ANEW: Final = "evidence"
"""What the ledger calls it where a case is begun anew."""

_LN10: Final = math.log(10)
_KEEP_S: Final = 1.0
_FEEDBACK_S: Final = 1.0
"""Between two looks at what feedback adds up to."""
_MOST_WAITING: Final = 4_096
"""Messages about one model that wait to be heard."""


class Judges(Hears, HearsPairs, Protocol):
    """What the judge needs of a store."""

    async def case(self, rollout_id: str) -> str | None:
        """What was kept of that rollout's case."""

    async def keep_case(self, rollout_id: str, said: str, blocks: Sequence[str], fence: int) -> None:
        """Keeps the case, and the blocks that it has grown by, for the conductor of that fence."""

    async def note(self, beside: Beside) -> Answer:
        """Writes all of that where no policy changes, or nothing."""

    async def feedback_in(self, scope: str) -> Mapping[str, int]:
        """What feedback about a rollout's attempt adds up to."""


@dataclass(slots=True)
class _Bench:
    """One rollout before the judge; all but what is kept can be lost."""

    judged: Judged
    record: Record | None = None
    tried: Mapping[int, Tried] = field(default_factory=dict)
    blocks: dict[int, Blocks] = field(default_factory=dict)
    open_until_s: float = 0.0
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_BLOCKS))
    kept: Judged | None = None
    kept_at_s: float = 0.0
    seen: tuple[Judged, object] | None = None
    verdicts: Verdicts = field(default_factory=dict)
    evidence: Evidence | None = None
    rewarded_at_s: float = -math.inf
    sums: Mapping[str, int] = field(default_factory=dict)


class Judge:
    """Judges every rollout in progress.

    Args:
        store: where messages and cases are.
        clock: seconds that only go forward, for pauses of its own.
    """

    def __init__(self, store: Judges, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._time = Steady(clock)
        self._hearing = Hearing(store, self._time)
        self._pairs = PairHearing(store, self._time)
        self._benches: dict[str, _Bench] = {}
        self._waiting: dict[str, deque[Heard]] = {}
        self._waiting_pairs: dict[str, deque[PairsGrown]] = {}

    def begin(self, watched_s: float | None, now_s: float) -> None:
        """Another conductor judged until then, by the store's clock (None: nobody knows); from now on this one does."""
        self._benches.clear()
        self._waiting.clear()
        self._waiting_pairs.clear()
        self._time.begin()
        since_s = now_s if watched_s is None else min(watched_s, now_s)
        self._hearing.begin(since_s)
        self._pairs.begin(since_s)

    async def listen(self, records: Collection[Record], now_s: float) -> Sequence[Braking]:
        """Hears what was told since the last time; the brakes among it.

        Args:
            records: the rollouts in progress.
            now_s: the time, by the store's clock.
        """
        self._time.look(now_s)
        models = {record.model for record in records}
        ids = {record.id for record in records}
        self._benches = {one: bench for one, bench in self._benches.items() if one in ids}
        self._waiting = {model: several for model, several in self._waiting.items() if model in models}
        self._waiting_pairs = {model: several for model, several in self._waiting_pairs.items() if model in models}
        news = await self._hearing.listen(models)
        for model, heard in news.by_model.items():
            self._waiting.setdefault(model, deque(maxlen=_MOST_WAITING)).extend(heard)
        for model, grown in (await self._pairs.listen(models)).items():
            self._waiting_pairs.setdefault(model, deque(maxlen=_MOST_WAITING)).extend(grown)
        return news.braked

    def silent(self, gateways: Iterable[GatewayLease]) -> Sequence[str]:
        """The gateways that live and tell nothing of what they count, by their ids."""
        return [one.id for one in gateways if not self._hearing.heard_of(f"{one.id} {one.boot}")]

    async def judge(self, record: Record, counts: Counts | None, fence: int) -> Evidence | None:
        """What is known of that rollout's present leg, as of the last time that it listened.

        Raises:
            Deposed: another conductor has taken over.
            StoreUnavailable: the store is away.
        """
        bench = await self._bench(record, fence)
        if bench.record is not record:  # a record is one value until it moves
            self._seat(bench, record)
        heard = self._waiting.pop(record.model, None)
        pairs = self._waiting_pairs.pop(record.model, None)
        if bench.tried:
            self._fold(bench, heard or (), pairs or (), self._time.now_s)
            await self._reward(bench, record)
            if self._clock() - bench.kept_at_s >= _KEEP_S:
                await self.keep(record, fence)
        return self._weigh(bench, record, counts)

    async def keep(self, record: Record, fence: int) -> None:
        """Keeps what has changed of that rollout's cases.

        Raises:
            Deposed: another conductor has taken over.
            StoreUnavailable: the store is away.
        """
        bench = self._benches.get(record.id)
        if bench is None or bench.judged is bench.kept:
            return
        lines = tuple(bench.lines)
        await self._store.keep_case(record.id, bench.judged.encode(), lines, fence)
        bench.lines.clear()
        bench.kept, bench.kept_at_s = bench.judged, self._clock()

    def judged(self, rollout_id: str) -> Judged | None:
        """The cases of that rollout, as they are now."""
        bench = self._benches.get(rollout_id)
        return None if bench is None else bench.judged

    def evidence(self, rollout_id: str) -> Evidence | None:
        """What was last known of that rollout."""
        bench = self._benches.get(rollout_id)
        return None if bench is None else bench.evidence

    def weights(self) -> Mapping[tuple[str, int, str], Weight]:
        """The numbers that verdicts look at, by model, version and name."""
        return {
            (bench.record.model, version, one.name): Weight(one.log_e / _LN10, one.threshold / _LN10)
            for bench in self._benches.values()
            if bench.record is not None
            for version, verdict in bench.verdicts.items()
            for one in verdict.numbers
        }

    def odds(self) -> Mapping[tuple[str, int, str], Odds]:
        """How candidates compare with stable, by model, version and guardrail, where something can be said."""
        return {
            (bench.record.model, version, one.name): Odds(
                bounds.lower, bounds.likeliest, math.inf if bounds.upper is None else bounds.upper
            )
            for bench in self._benches.values()
            if bench.record is not None
            for version, verdict in bench.verdicts.items()
            for one in shown(bench.judged.arms[version].case, verdict).guardrails
            if (bounds := one.odds_ratio) is not None
        }

    async def _bench(self, record: Record, fence: int) -> _Bench:
        bench = self._benches.get(record.id)
        if bench is not None and bench.judged.first_leg == record.rollout.first_leg:
            return bench
        judged = Judged(record.rollout.first_leg)
        if bench is None:
            judged = await self._kept(record, fence) or judged
            self._time.reach(max((arm.newest_s for arm in judged.arms.values()), default=0.0))
        bench = self._benches[record.id] = _Bench(judged, kept=judged)
        return bench

    async def _kept(self, record: Record, fence: int) -> Judged | None:
        said = await self._store.case(record.id)
        if said is None:
            return None
        try:
            judged = decode_judged(said, record.rollout.plan)
        except ValueError as error:
            await self._begin_anew(record, str(error), fence)
            return None
        return judged if judged.first_leg == record.rollout.first_leg else None

    async def _begin_anew(self, record: Record, why: str, fence: int) -> None:
        _log.warning("the evidence of rollout %s begins anew: %s", record.id, why)
        rollout = record.rollout
        said = fact(rollout, rollout, Seen(rollout.since_s), who=BY_ITSELF, what=ANEW, why=f"it begins anew: {why}")
        beside = Beside(entries=(entry_of(record, said),), jobs=jobs_of(record, said), fence=fence)
        await self._store.note(beside)

    def _seat(self, bench: _Bench, record: Record) -> None:
        """Every candidate of the record's leg is heard from here on, on that leg."""
        now_s = self._time.now_s
        rollout, bench.record, bench.tried = record.rollout, record, tried_in(record.rollout)
        before, bench.judged = bench.judged, bench.judged.on(rollout, bench.tried, now_s)
        bench.seen = None
        epoch = record.epochs[-1] if record.epochs else 0
        for version in bench.tried:
            arm, had = bench.judged.arms[version], before.arms.get(version)
            if had is None or had.leg != arm.leg:
                anew = ',"anew":true' if had is None and rollout.first_leg > 1 else ""
                copied = "" if arm.tried.copied is None else ',"copied":true'
                bench.lines.append(f'{version} {{"ramped":{json.dumps(arm.tried.shares)}{copied}{anew}}}')
            if version in bench.blocks:
                bench.blocks[version].leg(epoch, bench.tried[version].copied)
            else:
                bench.blocks[version] = _blocks(record, version, arm, epoch, now_s)
        bench.blocks = {version: bench.blocks[version] for version in bench.tried}

    async def _reward(self, bench: _Bench, record: Record) -> None:
        """Tells the cases what feedback adds up to by now, where they are judged by any."""
        if not wants_feedback(record.rollout.plan.judged_by) or self._clock() - bench.rewarded_at_s < _FEEDBACK_S:
            return
        bench.rewarded_at_s = self._clock()
        sums = await self._store.feedback_in(scope_of(record))
        if sums == bench.sums:
            return
        try:
            metrics = metrics_in(sums)
        except EvidenceError as error:
            _log.warning("feedback of rollout %s cannot be read: %s", record.id, error)
            return
        bench.sums, stable = sums, record.rollout.base.stable
        for version, tried in bench.tried.items():
            arm = bench.judged.arms[version]
            shares = {record.epochs[-1]: tried.shares} if record.epochs else {}
            case = arm.case.rewarded(told_of(metrics, (version, stable), shares))
            if case is not arm.case:
                bench.judged = bench.judged.with_arm(version, replace(arm, case=case))

    @staticmethod
    def _fold(bench: _Bench, heard: Collection[Heard], pairs: Collection[PairsGrown], now_s: float) -> None:
        for version, blocks in bench.blocks.items():
            for one in heard:
                for totals in one:
                    blocks.hear(totals)
            for grown in pairs:
                blocks.hear_pairs(grown)
            if heard or pairs or bench.open_until_s:
                # Messages are stamped by the store, and all up to now are read: none of a second that is over is late.
                _hear(bench, version, blocks.close(now_s + LATE_S))
        if heard or pairs:
            bench.open_until_s = max([*(one.now.at_s for one in heard), *(one.at_s for one in pairs)]) + 1
        elif bench.open_until_s <= now_s:
            bench.open_until_s = 0.0

    def _weigh(self, bench: _Bench, record: Record, counts: Counts | None) -> Evidence | None:
        time = self._time
        requests = None if counts is None else (counts.leg, bool(counts.last), counts.requests())
        quiet_s = 0.0 if bench.open_until_s else float(int(self._hearing.newest_s))
        if bench.tried and bench.seen is not None and bench.seen[0] is bench.judged and bench.seen[1] == requests:
            if bench.evidence is not None:
                bench.evidence = at(bench.evidence, quiet_s - time.ahead_s)
                return bench.evidence
        else:
            bench.seen = bench.judged, requests
            bench.verdicts = verdicts_of(record, counts, bench.judged)
        basis = Basis(record, bench.tried, counts, bench.judged, bench.verdicts)
        found = weighed(basis, quiet_s=quiet_s, now_s=time.now_s)
        bench.evidence = None if found is None else replace(found, at_s=found.at_s - time.ahead_s)
        return bench.evidence


def _blocks(record: Record, version: int, arm: Arm, epoch: int, now_s: float) -> Blocks:
    stable = record.rollout.base.stable
    judged_s = arm.case.newest_s or now_s
    seed, copied = f"{record.id}/{version}".encode(), tried_in(record.rollout)[version].copied
    return Blocks(version, stable, epoch=epoch, judged_s=judged_s, seed=seed, copied=copied)


def _hear(bench: _Bench, version: int, moments: Sequence[Moment]) -> None:
    """Hears closed blocks, and notes those in which there was anything."""
    arm = bench.judged.arms[version]
    for moment in moments:
        admitted = arm.admitted(moment)
        arm = arm.heard(admitted)
        if admitted.candidate or admitted.stable or admitted.pairs is not None:
            bench.lines.append(f"{version} {encode_moment(admitted)}")
    if moments:
        bench.judged = bench.judged.with_arm(version, arm)
