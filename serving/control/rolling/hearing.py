"""What gateways tell of what they have counted, read from the stream, and what lies between two messages of each.

A message leaves out the series that did not change. So everything that a gateway has said is remembered here, and a
model's series are handed on with what they were at the gateway's message before: whoever counts has a beginning then,
also for a rollout that began only just now. A series that is met for the first time began after the gateway's last
*whole* message, if there was one; else nobody knows what of it is new, and counting begins with it.

Times are those of the stream's ids, which are the store's, without its jumps (`steady`): no gateway's clock is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from router.verdicts.blocks import Totals
from router.verdicts.tallies import Tally
from router.verdicts.units import Sighting, Took, UnitsSeen
from serving.control.evidence_store import Told
from serving.control.rolling.steady import Steady
from serving.control.rolling.stream import Stream, Wording
from serving.totals import Braked, Message, SeriesTotals, Units, UnitSeen, message_from

FORGOTTEN_S: Final = 900.0
"""A gateway that has said nothing for so long is gone."""
_INSTANT_S: Final = 2e-6
"""After a message, and before the next one of the same gateway."""
_NOT_COUNTED: Final = -1
"""In the place of an epoch: of no leg."""

_Series = Mapping[tuple[int, str], SeriesTotals]


class Hears(Protocol):
    """Where messages are."""

    async def totals_after(self, after: str, limit: int) -> Sequence[Told]:
        """The oldest messages of gateways after that id, oldest first."""


class Heard(NamedTuple):
    """What one gateway said of one model, to be told to whoever counts in this order.

    Attributes:
        known: all that was known of it up to the gateway's message before: where counting begins, not to be counted.
        before: which epoch the gateway ran at that message.
        now: what has changed since.
    """

    known: Totals
    before: Totals
    now: Totals


class Braking(NamedTuple):
    """A gateway has put a brake on: whose message said so, and when."""

    gateway: str
    at_s: float
    said: Braked


@dataclass(frozen=True, slots=True)
class News:
    """What was heard since the last look.

    Attributes:
        by_model: of each model that was spoken of, in the order in which it was said.
        braked: the brakes.
    """

    by_model: Mapping[str, Sequence[Heard]] = field(default_factory=dict)
    braked: Sequence[Braking] = ()


NO_NEWS: Final = News()


@dataclass(slots=True)
class _Gateway:
    """What is known of one worker."""

    at_s: float
    epoch: int
    whole: bool = False
    series: dict[str, dict[tuple[int, str], SeriesTotals]] = field(default_factory=dict)
    drawn: dict[str, dict[int, int]] = field(default_factory=dict)


class Hearing:
    """Reads the stream of totals, each message once.

    Args:
        store: where they are.
        time: by which messages are stamped.
    """

    def __init__(self, store: Hears, time: Steady) -> None:
        words = Wording("what gateways have counted", "a gateway's totals")
        self._stream: Stream[Message] = Stream(store.totals_after, message_from, words)
        self._time = time
        self._gateways: dict[str, _Gateway] = {}
        self.newest_s = 0.0
        """When the newest message came that could be read; 0 before the first."""

    def begin(self, since_s: float) -> None:
        """Begins anew, with what was said since shortly before that time, by the store's clock."""
        self._stream.begin(since_s)
        self._gateways.clear()
        self.newest_s = 0.0

    def heard_of(self, gateway: str) -> bool:
        """Whether anything was heard of this gateway lately, by its name and start."""
        return gateway in self._gateways

    async def listen(self, models: Collection[str]) -> News:
        """What was said since the last time.

        Args:
            models: of which it matters; of the others only where counting would begin is remembered.

        Raises:
            StoreUnavailable: the store is away.
        """
        by_model: dict[str, list[Heard]] = {}
        braked: list[Braking] = []
        async for store_s, message in self._stream.new():
            self.newest_s = at_s = self._time.stamp(store_s)
            self._hear(message, at_s, models, by_model)
            braked += [Braking(message.gateway, at_s, one) for one in message.braked]
        self._forget()
        return News(by_model, braked) if by_model or braked else NO_NEWS

    def _hear(self, message: Message, at_s: float, models: Collection[str], by_model: dict[str, list[Heard]]) -> None:
        known = self._gateways.get(message.gateway)
        first = known is None
        if known is None:
            known = self._gateways[message.gateway] = _Gateway(at_s, message.epoch)
        spoken: dict[str, dict[tuple[int, str], SeriesTotals]] = {}
        for one in message.series:
            spoken.setdefault(one.model, {})[one.version, one.replica] = one
        for model in {*spoken, *message.drawn, *message.units}:
            series, drawn = spoken.get(model, {}), dict(message.drawn.get(model, {}))
            there = known.series.setdefault(model, {})
            if not first and model in models:
                heard = _heard(message, at_s, known, model, series, drawn)
                by_model.setdefault(model, []).append(heard)
            there.update(series)
            known.drawn.setdefault(model, {}).update(drawn)
        known.at_s, known.epoch, known.whole = at_s, message.epoch, known.whole or message.whole

    def _forget(self) -> None:
        gone = [name for name, one in self._gateways.items() if self.newest_s - one.at_s > FORGOTTEN_S]
        for name in gone:
            del self._gateways[name]


def _heard(  # noqa: PLR0917 - one message, taken apart
    message: Message, at_s: float, known: _Gateway, model: str, series: _Series, drawn: Mapping[int, int]
) -> Heard:
    """What the message says of a model, beside what was known when it came."""
    had, had_drawn = known.series.get(model, {}), known.drawn.get(model, {})
    if not known.whole:  # what is met for the first time may be old: it is where counting begins
        had, had_drawn = {**series, **had}, {**drawn, **had_drawn}
    name, units = message.gateway, message.units.get(model)
    return Heard(
        Totals(name, known.at_s + _INSTANT_S, _NOT_COUNTED, _tallies(had), dict(had_drawn)),
        Totals(name, known.at_s + 2 * _INSTANT_S, known.epoch, {}),
        Totals(name, at_s, message.epoch, _tallies(series), drawn, _units(units)),
    )


def _tallies(series: _Series) -> dict[tuple[int, str], Tally]:
    return {key: Tally(one.outcomes, one.answered, one.unanswered, one.predicted) for key, one in series.items()}


def _units(said: Units | None) -> UnitsSeen | None:
    if said is None:
        return None
    return UnitsSeen(said.threshold, tuple(map(_sighting, said.seen)))


def _sighting(one: UnitSeen) -> Sighting:
    took = one.took
    return Sighting(one.hashed, one.version, one.outcomes, None if took is None else Took(*took))
