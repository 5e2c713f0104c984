"""The loop that walks rollouts: it reads, asks the pure machine, and writes; it decides nothing itself.

Once a tick the store's clock is read, and everything that the machine is shown goes by it. A step is one script
(`serving.control.rolling.moving`), so a walker that is killed anywhere is followed by one that finds the step taken or
not taken. What keeps a rollout from going on and is not in its plan (a stop, a gate, capacity, the registry) is told
to the machine, which then holds, and gives up at its deadline as it would for any other reason.

Where the model runs something else than the rollout has set, the store has forgotten and the gateways' policy was
published again: the rollout is paused, never made true again by itself, for it may be about a version that went back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from router.advance import current, tick
from router.commands import Pause, RollBack, ask
from router.errors import RouterError
from router.phases import Phase
from router.rollout import BY_ITSELF, Evidence, Seen, Step, policy_of
from serving.control.errors import Deposed, RolloutMoved, StoreDamaged, StoreUnavailable
from serving.control.publication import State
from serving.control.rolling import clocks
from serving.control.rolling.braking import Brakes
from serving.control.rolling.evidence import Counts, counted, decode_counts, said_by
from serving.control.rolling.gates import Gatekeeper
from serving.control.rolling.judged import Judged
from serving.control.rolling.judging import Judge
from serving.control.rolling.kept import Look
from serving.control.rolling.leading import LEASE_S
from serving.control.rolling.looking import Memory, Tick, closed_for, drift_words, gates_of, goes_forward
from serving.control.rolling.moving import move, wanted_by
from serving.control.rolling.ports import Gives, Watches
from serving.control.rolling.propagating import Propagation
from serving.control.rolling.records import Record
from serving.control.rolling.spreads import Figures
from serving.control.tasks import end
from serving.errors import SluiceError

_log = logging.getLogger(__name__)

FLIP_AGAIN_S: Final = 2.0
"""How long a flip that was abandoned waits for its next attempt; twice as long after each further one."""
LONGEST_PAUSE_S: Final = 300.0
"""The longest that it waits, however often it was abandoned."""

_MOST_DOUBLINGS: Final = 10

UNWATCHED_S: Final = 2 * LEASE_S
"""How much counts, of the time in which nobody conducted."""

_KEEP_COUNTS_S: Final = 1.0
_KEEP_WATCHED_S: Final = 1.0
_UNSETTLED: Final = "the store was away until just now, or this conductor was: gateways have to say anew what they run"


class Walker:
    """Takes every rollout in progress a step on, where it is time.

    Args:
        store: where they are kept.
        traffic: what may get traffic.
        gates: whom they ask.
        unwatched_s: how much counts of the time before this conductor led (`serving.control.rolling.clocks`).
        settle_s: how long it has to be in contact with the store before anything goes forward: what gateways say is
            old until all had time to say it anew, and who holds a head that was forgotten says so in that time.
        clock: seconds that only go forward, for pauses of its own.
    """

    def __init__(
        self,
        store: Watches,
        traffic: Gives,
        gates: Gatekeeper,
        *,
        unwatched_s: float = UNWATCHED_S,
        settle_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._traffic = traffic
        self._gates = gates
        self._settle_s = settle_s
        self._clock = clock
        self._in_contact_since: float | None = None
        self._latest = 0
        self._watch = clocks.Watch(unwatched_s)
        self._watched_at_s: float | None = None
        self._memories: dict[str, Memory] = {}
        self._brakes = Brakes(store)
        self.judge = Judge(store, clock)
        """Knows what the evidence is enough for."""
        self.propagation = Propagation(store, clock)
        """Knows how long going back took."""

    async def tick(self, fence: int) -> int:
        """Looks at all rollouts in progress once; how many there are.

        Args:
            fence: of the conductor whose walker this is.
        """
        try:
            return await self._ticked_once(fence)
        except StoreUnavailable as error:
            self._lose_contact(error)
            raise

    async def _ticked_once(self, fence: int) -> int:
        before_s = self._clock()
        look = await self._store.look()
        looked = clocks.Look(look.now_s, before_s, self._clock())
        if self._in_contact_since is None:
            self._in_contact_since = self._clock()
        if not self._watch.leads(fence):
            await self._begin(look.now_s, fence)
        braked = await self.judge.listen(look.records, look.now_s)
        await self._brakes.write(braked, look.records, fence)
        self._forget(look)
        stable = {(record.model, record.rollout.base.stable) for record in look.records}
        shown = {(record.model, version) for record in look.records for version in record.rollout.plan.versions}
        self._traffic.keep(stable | shown, stable)
        if look.records:
            seen = await self._seen(look, looked, fence)
            if seen.state.head.epoch < self._latest:  # as good as an outage: it may be a store put back
                self._in_contact_since = self._clock()
            self._latest = seen.state.head.epoch
            for record in look.records:
                await self._guarded(record, seen)
        if self._watch.end_of_look([record.id for record in look.records], looked) and look.records:
            await self._keep_watched(look.now_s, fence)
        return len(look.records)

    async def _begin(self, now_s: float, fence: int) -> None:
        """Another conductor watched until now, or nobody did."""
        watched_s = await self._store.watched_s()
        self._watch.begin(fence, watched_s)
        self.judge.begin(watched_s, now_s)
        self._brakes.begin(0.0 if watched_s is None else watched_s)

    def closed(self, rollout_id: str) -> tuple[str, ...]:
        """What kept that rollout from going on at the last tick, beside its plan, in sentences."""
        memory = self._memories.get(rollout_id)
        return () if memory is None else memory.closed

    def evidence(self, rollout_id: str) -> Evidence | None:
        """What was last known of that rollout."""
        return self.judge.evidence(rollout_id)

    def judged(self, rollout_id: str) -> Judged | None:
        """The cases of its candidates."""
        return self.judge.judged(rollout_id)

    def figures(self) -> Figures:
        """What people are shown of all of them."""
        judge, propagation = self.judge, self.propagation
        return Figures(propagation.detected, propagation.propagated, judge.weights(), judge.odds(), propagation.stepped)

    def counts(self, rollout_id: str) -> Counts | None:
        """What was last counted of that rollout."""
        memory = self._memories.get(rollout_id)
        return None if memory is None else memory.counts

    async def close(self) -> None:
        """Ends what it has begun beside its ticks."""
        await end([memory.flip for memory in self._memories.values() if memory.flip is not None])
        await self.propagation.close()

    async def _keep_watched(self, now_s: float, fence: int) -> None:
        """Now and then, for whoever leads next."""
        own_s = self._clock()
        if self._watched_at_s is None or own_s - self._watched_at_s >= _KEEP_WATCHED_S:
            with suppress(Deposed):
                await self._store.keep_watched(now_s, fence)
            self._watched_at_s = own_s

    async def _seen(self, look: Look, looked: clocks.Look, fence: int) -> Tick:
        ready: dict[str, set[int]] = {}
        for endpoint in await self._store.endpoints():
            ready.setdefault(endpoint.model, set()).add(endpoint.version)
        gateways = await self._store.gateways()
        by_model = {model: frozenset(versions) for model, versions in ready.items()}
        return Tick(look, looked, await self._store.state(), gateways, said_by(gateways), by_model, fence)

    def _lose_contact(self, error: SluiceError) -> None:
        """What is damaged is damaged for one model: the others need not wait for it."""
        if not isinstance(error, StoreDamaged):
            self._in_contact_since = None

    @property
    def _settled(self) -> bool:
        since = self._in_contact_since
        return since is not None and self._clock() - since >= self._settle_s

    async def _guarded(self, record: Record, at: Tick) -> None:
        """One rollout that cannot be walked must not keep the others from it; that it cannot is told once."""
        memory = self._memories.setdefault(record.id, Memory())
        try:
            await self._walk(record, at, memory)
        except (RolloutMoved, Deposed):
            return  # somebody else took a step: the next tick begins where that led
        except (SluiceError, RouterError) as error:
            if isinstance(error, StoreUnavailable):
                self._lose_contact(error)
            memory.closed = (str(error),)
            if memory.told != str(error):
                memory.told = str(error)
                _log.warning("the rollout %s cannot go on: %s", record.id, error)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is this one rollout's)
            memory.closed = (f"a fault of ours keeps it from going on ({type(error).__name__}): see the log",)
            if memory.told != repr(error):
                memory.told = repr(error)
                _log.exception("the rollout %s cannot go on", record.id)

    async def _walk(self, record: Record, at: Tick, memory: Memory) -> None:
        if memory.flip is not None and not memory.flip.done():
            return
        rollout = record.rollout
        corrected = self._watch.steadied(rollout, at.looked)
        if corrected is not None:
            await self._take(record, corrected, at)
        self._watch.watched(record.id, at.looked)
        if corrected is not None:
            return
        if self._drifted(record, at.state, memory):
            memory.closed = ("the model runs something else than this rollout has set",)
            if rollout.phase is not Phase.PAUSED:
                pause = Pause(who=BY_ITSELF, why=drift_words(at.state))
                await self._take(record, ask(rollout, pause, Seen(at.look.now_s)), at)
            return
        seen = await self._shown(record, at, memory)
        step = self._called_back(record, seen) or await self._ticked(record, seen, memory)
        waits = rollout.entered is not None and current(rollout, seen) is None
        if waits and (silent := self.judge.silent(at.gateways)):
            memory.closed += (f"the gateway {silent[0]} does not tell what it counts: it may be of an older release",)
        if step.rollout.revision == rollout.revision:
            return
        if step.flip and step.policy != policy_of(rollout):
            memory.flip = asyncio.create_task(self._flip(record, step, at, memory), name=f"flip of {record.id}")
        else:
            await self._take(record, step, at)

    def _drifted(self, record: Record, state: State, memory: Memory) -> bool:
        """Whether the model runs something else than the rollout has set."""
        if memory.wanted is None or memory.wanted[0] is not record:  # a record is one value until it moves
            memory.wanted = record, wanted_by(record)
        entry = state.snapshot.models.get(record.model)
        return entry is None or entry.digest != memory.wanted[1]

    async def _ticked(self, record: Record, seen: Seen, memory: Memory) -> Step:
        """What the machine does, once it knows all that may keep it from going on."""
        memory.closed = seen.closed
        seen, step = await self._within_capacity(record, seen)
        if not goes_forward(record.rollout, step):
            return step
        held = (*seen.closed, *await self._held(record, step, memory))
        memory.closed = held
        return tick(record.rollout, seen._replace(closed=held)) if held else step

    async def _within_capacity(self, record: Record, seen: Seen) -> tuple[Seen, Step]:
        """What the machine does, and on what: arms are cut down to what they carry, or given more again.

        What was cut down is given more only once that is known to be carried: of an arm that is dead, or a model whose
        rate nobody knows, nothing is.
        """
        rollout, step = record.rollout, tick(record.rollout, seen)
        forward = goes_forward(rollout, step)
        if not forward and (step.rollout is not rollout or not rollout.carried):
            return seen, step
        wanted = step.policy if forward else policy_of(rollout.uncut)
        cut = bool(rollout.carried)
        carries = await self._traffic.carried(record.model, policy_of(rollout), wanted, surely=cut)
        if carries is None and forward:
            carries = rollout.carried
        if carries is None or (forward and not carries):
            return seen, step
        seen = seen._replace(carries=carries)
        return seen, tick(rollout, seen)

    async def _held(self, record: Record, step: Step, memory: Memory) -> tuple[str, ...]:
        """What keeps it from this step and is not in its plan."""
        before = policy_of(record.rollout)
        found = (*await self._traffic.obstacles(record.model, before, step.policy),)
        found += self._gates.holds(record, gates_of(record.rollout, step))
        found += () if self._settled else (_UNSETTLED,)
        return found if self._clock() >= memory.not_before_s else (*found, memory.abandoned)

    def _called_back(self, record: Record, seen: Seen) -> Step | None:
        if record.rollout.entered is None:
            return None
        words = self._gates.calls_back(record)
        return ask(record.rollout, RollBack(who=BY_ITSELF, why=words), seen) if words else None

    async def _shown(self, record: Record, at: Tick, memory: Memory) -> Seen:
        """What the machine is shown, evidence counted up to now."""
        counts = counted(record, await self._counts(record, memory), at.said)
        memory.counts = counts
        due = memory.kept is None or self._clock() - memory.kept_at_s >= _KEEP_COUNTS_S
        if due and counts != memory.kept:
            await self._store.keep_counts(record.id, counts.encode(), at.fence)
            memory.kept, memory.kept_at_s = counts, self._clock()
        ready = at.ready.get(record.model, frozenset())
        evidence = await self.judge.judge(record, counts, at.fence)
        return Seen(at.look.now_s, ready, evidence, tuple(closed_for(record, at)))

    async def _counts(self, record: Record, memory: Memory) -> Counts | None:
        if memory.counts is not None:
            return memory.counts
        said = await self._store.counts(record.id)
        try:
            return None if said is None else decode_counts(said)
        except ValueError as error:
            _log.warning("the counts of rollout %s begin anew: %s", record.id, error)
            return None

    async def _take(self, record: Record, step: Step, at: Tick) -> None:
        before, began_s = policy_of(record.rollout), self._clock()
        if not goes_forward(record.rollout, step):
            moved = await move(self._store, record, step, fence=at.fence)
            if moved.published and step.rollout.over:
                self.propagation.watch(moved, step.facts[0], began_s, at.fence)
            elif moved.published:
                self.propagation.count(moved, began_s)
            await self._filed(record, step, at)
            return
        async with self._traffic.giving(record.model, before, step.policy):
            moved = await move(self._store, record, step, fence=at.fence)
        if moved.published:
            self.propagation.count(moved, began_s)
        await self._filed(record, step, at)

    async def _filed(self, record: Record, step: Step, at: Tick) -> None:
        """The case of a rollout that is over, as it was when that was decided."""
        if step.rollout.over:
            with suppress(Deposed, StoreUnavailable):
                await self.judge.keep(record, at.fence)

    async def _flip(self, record: Record, step: Step, at: Tick, memory: Memory) -> None:
        """A step that waits for gateways: beside the ticks, so that no other rollout waits with it."""
        began_s = self._clock()
        giving = partial(self._traffic.giving, record.model, policy_of(record.rollout), step.policy)
        try:
            moved = await move(self._store, record, step, fence=at.fence, giving=giving)
            memory.abandons = 0
            if moved.published:
                self.propagation.count(moved, began_s)
        except (RolloutMoved, Deposed):
            return
        except SluiceError as error:
            memory.not_before_s = self._clock() + min(LONGEST_PAUSE_S, FLIP_AGAIN_S * 2**memory.abandons)
            memory.abandons = min(memory.abandons + 1, _MOST_DOUBLINGS)
            memory.abandoned = error.sentence
            _log.warning("the rollout %s: %s", record.id, error.sentence)

    def _forget(self, look: Look) -> None:
        ids = {record.id for record in look.records}
        self._gates.forget_all_but(ids)
        for one in self._memories.keys() - ids:
            flip = self._memories[one].flip
            if flip is None or flip.done():
                del self._memories[one]
