"""What a gateway's worker has counted since it began, as one message in the stream that the control room reads.

Everything that is counted is a running total, so a message that is lost or comes twice falsifies nothing: what follows
contains it. Only what was seen since the last message that was acknowledged (units, brakes) is told as such, and told
again where that is in doubt; whoever reads takes a unit's bits together and knows a brake by when it began.

Of distinct units only a sample is told: those whose second hash is below a threshold. It is the same for all gateways
that show the same threshold, exact for those in it, and halves as they become too many; so a reader takes the lowest
threshold that it was shown and leaves out what is above.

Plain values and JSON: what is in the stream is known here, how it gets there and back is not. What is read is checked
here once; whoever writes has counted it itself, and makes no mistakes of type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

READER: Final = 1
"""The form of a message; whoever meets a later one is to be brought up to date first."""
OUTCOMES: Final = (
    "ok", "client_error", "server_error", "unavailable", "refused", "broken", "late", "cancelled",
)  # fmt: skip
"""How a first attempt may end. The place in here is the bit in a unit's mask."""
WHOLE: Final = 2**53
"""The threshold under which every unit's hash lies: nothing is left out."""
_MASKS: Final = 1 << len(OUTCOMES)
ANSWERED_BITS: Final = 0b1111
"""Of a unit's mask: the outcomes of attempts that were answered, so that they have a latency."""
TOOK_SHIFT: Final = len(OUTCOMES)
"""How far above a unit's mask it stands how long its first attempt took."""
_ENDINGS: Final = _MASKS << 11  # buckets are below a thousand: that is weeks
_MOST_ENDINGS: Final = 4096
"""Of them so many are remembered: the same few hundred come in message after message."""
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)
_Key = TypeVar("_Key", str, int)


@dataclass(frozen=True, slots=True)
class SeriesTotals:
    """First attempts at one replica of a version, since the worker began.

    Attributes:
        model: its name.
        version: its number.
        replica: names the replica among those of its version, for every gateway alike.
        outcomes: how many, by one of `OUTCOMES`.
        answered: how many by bucket of latency (`serving.gateway.counters.bucket_of`), of those that were answered.
        unanswered: how many by bucket of the time after which there was still no answer.
        predicted: how many by what they predicted, of a sample of those that were answered well.
    """

    model: str
    version: int
    replica: str
    outcomes: Mapping[str, int] = field(default_factory=dict)
    answered: Mapping[int, int] = field(default_factory=dict)
    unanswered: Mapping[int, int] = field(default_factory=dict)
    predicted: Mapping[str, int] = field(default_factory=dict)

    def plain(self) -> list[Any]:
        """For JSON."""
        counts = {
            "outcomes": dict(self.outcomes),
            "answered": sorted(self.answered.items()),
            "unanswered": sorted(self.unanswered.items()),
            "predicted": dict(self.predicted),
        }
        return [self.model, self.version, self.replica, counts]


class UnitSeen(NamedTuple):
    """One distinct unit of the sample.

    Attributes:
        hashed: its second hash, of 53 bits.
        version: that it was assigned to.
        ended: how its first attempts ended, as one number: below `TOOK_SHIFT` the mask, a bit for each of `OUTCOMES`;
            above it 1 + 2 * bucket + (1 if it was answered) of that which ended first, or 0 where that is not known. 0
            where none has ended yet.
    """

    hashed: int
    version: int
    ended: int

    @property
    def mask(self) -> int:
        """How its first attempts ended, a bit for each of `OUTCOMES`."""
        return self.ended & _MASKS - 1

    @property
    def took(self) -> tuple[int, bool] | None:
        """Of the attempt that ended first, the bucket of how long it took and whether it was answered; or None."""
        code = self.ended >> TOOK_SHIFT
        return ((code - 1) // 2, code % 2 == 0) if code else None

    @property
    def outcomes(self) -> frozenset[str]:
        """How its first attempts ended, by name."""
        return frozenset(name for bit, name in enumerate(OUTCOMES) if self.mask >> bit & 1)


@dataclass(frozen=True, slots=True)
class Units:
    """The sample of one model's distinct units that were seen since the last message.

    Attributes:
        threshold: every unit whose hash is below it is here; 1 to `WHOLE`.
        seen: those, each once for every version that it was assigned to.
    """

    threshold: int
    seen: tuple[UnitSeen, ...] = ()


class Braked(NamedTuple):
    """A worker sent a version's requests straight to stable for a while, of its own accord.

    Attributes:
        model: its name.
        version: the one that was cut.
        at_s: when, in seconds since 1970 by the worker's clock: with the gateway it names the episode.
        for_s: for how long at least, seconds.
    """

    model: str
    version: int
    at_s: float
    for_s: float


@dataclass(frozen=True, slots=True)
class Message:
    """What one worker says.

    Attributes:
        gateway: its lease's id and its boot id, with a blank between: what it counted begins with that.
        epoch: that it runs.
        series: that have changed.
        drawn: requests without a unit that were dealt by shares, by model and version that they were assigned to; only
            of models with more versions than one.
        units: by model, likewise.
        braked: since the last message.
        whole: whether every series that it has is in it, and every draw: whoever has read one such message knows that a
            series which it meets later began after that. The first one of a worker is, the first after each change of
            epoch, and one every ten seconds.
    """

    gateway: str
    epoch: int
    series: tuple[SeriesTotals, ...] = ()
    drawn: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    units: Mapping[str, Units] = field(default_factory=dict)
    braked: tuple[Braked, ...] = ()
    whole: bool = False

    def encode(self) -> bytes:
        """As it stands in the stream; `message_from` reads it."""
        said = {
            "reader": READER,
            "gateway": self.gateway,
            "epoch": self.epoch,
            "series": [one.plain() for one in self.series],
            "drawn": {model: {str(version): n for version, n in by.items()} for model, by in self.drawn.items()},
            "braked": self.braked,
            "whole": self.whole,
        }
        units = ",".join(f"{json.dumps(model)}:{_written(of)}" for model, of in self.units.items())
        return f'{_ENCODER.encode(said)[:-1]},"units":{{{units}}}}}'.encode()


def _written(units: Units) -> str:
    """As JSON; all numbers in one step, for it is most of a message."""
    numbers = "[%d,%d,%d]," * len(units.seen) % tuple(chain.from_iterable(units.seen))
    return f'{{"threshold":{units.threshold},"seen":[{numbers[:-1]}]}}'


def message_from(raw: bytes) -> Message:
    """What `Message.encode` wrote. Members of a newer release are passed over, its forms are not.

    Raises:
        ValueError: it is something else, or of a later form than this release understands.
    """
    said = members_of(raw, "a gateway's totals", READER)
    try:
        return _message(said)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"a gateway's totals are damaged: {error}") from error


def members_of(raw: bytes, what: str, latest: int) -> Mapping[str, Any]:
    """The members of a message that carries its form as `reader`.

    Args:
        raw: the message.
        what: it is, for errors.
        latest: form that the caller understands.

    Raises:
        ValueError: it is no JSON object, or of a later form.
    """
    try:
        said = json.loads(raw)
    except RecursionError as error:
        raise ValueError(f"{what} are nested too deeply") from error
    if not isinstance(said, dict):
        raise ValueError(f"{what} are a JSON object")  # noqa: TRY004 (bad input, not a bad call)
    reader = said.get("reader")
    if type(reader) is not int or reader > latest:
        raise ValueError(f"{what} of form {reader!r} are of a later release than this one, which reads up to {latest}")
    return said


def _message(said: Mapping[str, Any]) -> Message:
    return Message(
        _text(said["gateway"], "a gateway"),
        _number(said["epoch"], "an epoch"),
        tuple(_series(*one) for one in said["series"]),
        {_text(model, "a model"): _counts(_by_number(by), int) for model, by in said["drawn"].items()},
        {_text(model, "a model"): _units(**of) for model, of in said["units"].items()},
        tuple(_braked(*one) for one in said["braked"]),
        said.get("whole") is True,
    )


def _series(model: str, version: int, replica: str, counts: Mapping[str, Any]) -> SeriesTotals:
    outcomes = _counts(counts["outcomes"], str)
    if unknown := set(outcomes) - set(OUTCOMES):
        raise ValueError(f"{min(map(repr, unknown))} is no way for an attempt to end: {', '.join(OUTCOMES)} are")
    return SeriesTotals(
        _text(model, "a model"),
        _number(version, "a version", least=1),
        _text(replica, "a replica"),
        outcomes,
        _counts(_pairs(counts["answered"]), int),
        _counts(_pairs(counts["unanswered"]), int),
        _counts(counts["predicted"], str),
    )


def _units(threshold: int, seen: Sequence[Sequence[int]], **_of_a_newer_release: object) -> Units:
    _number(threshold, "a threshold", least=1, most=WHOLE)
    units = tuple(UnitSeen(*one) for one in seen)
    if not _sound(units, threshold):
        for unit in units:
            _number(unit.hashed, "a unit's hash", most=threshold - 1)
            _number(unit.version, "a version", least=1)
            _number(unit.ended, "how a unit's attempts ended", most=_ENDINGS - 1)
        raise ValueError("how long a unit's attempt took is told of no attempt that ended so")
    return Units(threshold, units)


def _sound(seen: Sequence[UnitSeen], threshold: int) -> bool:
    """Whether all of them are what they should be, looked at together: there are hundreds in every message."""
    hashed, versions, ended = zip(*seen, strict=True) if seen else ((0,), (1,), (0,))
    return (
        {*map(type, hashed), *map(type, versions), *map(type, ended)} == {int}
        and 0 <= min(hashed) <= max(hashed) < threshold
        and min(versions) > 0
        and 0 <= min(ended) <= max(ended) < _ENDINGS
        and all(map(_is_ending, set(ended)))
    )


@lru_cache(_MOST_ENDINGS)
def _is_ending(ended: int) -> bool:
    """Whether some attempt that ended so may have taken so long: answered or not."""
    code, answered = ended >> TOOK_SHIFT, bool(ended & ANSWERED_BITS)
    return not code or (answered if code % 2 == 0 else bool(ended & (_MASKS - 1 - ANSWERED_BITS)))


def _pairs(said: Collection[tuple[int, int]]) -> Mapping[int, int]:
    found = dict(said)
    if len(found) != len(said):
        raise ValueError("a bucket is told twice")
    return found


def _by_number(by: Mapping[str, int]) -> Mapping[int, int]:
    return {int(version): count for version, count in by.items()}


def _text(value: object, what: str) -> str:
    if type(value) is not str or not value:
        raise ValueError(f"{value!r} names no such thing as {what}: it takes text")
    return value


def _number(value: object, what: str, *, least: int = 0, most: int | None = None) -> int:
    if type(value) is not int or value < least or (most is not None and value > most):
        upper = "" if most is None else f" to {most}"
        raise ValueError(f"{value!r} is not {what}: a whole number from {least}{upper or ' up'}")
    return value


def _counts(said: Mapping[_Key, int], key: Callable[..., _Key]) -> Mapping[_Key, int]:
    counts = dict(said)
    if not all(type(name) is key and type(count) is int and count >= 0 for name, count in counts.items()):
        for name, count in counts.items():
            if type(name) is not key:
                raise ValueError(f"{name!r} is nothing that totals are counted by")
            _number(count, "a total")
    return MappingProxyType(counts)


def _braked(model: str, version: int, at_s: float, for_s: float) -> Braked:
    _text(model, "a model")
    _number(version, "a version", least=1)
    for seconds in (at_s, for_s):
        if type(seconds) not in {int, float} or not 0 <= seconds < WHOLE:
            raise ValueError(f"{seconds!r} is no time: it takes seconds, 0 or more")
    return Braked(model, version, at_s, for_s)
