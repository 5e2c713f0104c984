"""What a keeper has found in pairs of answers since it began, as one message in the stream that the control room reads.

All of it is running totals, so a message that is lost or comes twice falsifies nothing: what follows contains it. A
series is one candidate's copies under one salt: the salt names the rollout's shadow, so that two rollouts of one model
never share a series. Whoever has read one whole message of a keeper knows that a series which it meets later began
after that.

Plain values and JSON, for the control room decodes what keepers encode; how it gets there is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from serving.totals import members_of

READER: Final = 1
"""The form of a message; whoever meets a later one is to be brought up to date first."""
_LONGEST: Final = 512
_SIGNS: Final = ("errors", "slower", "noise")
_COUNTS: Final = ("compared", "disagreed", "noise_compared", "noise_disagreed", "unread", "offered", "sent")


class Signs(NamedTuple):
    """Pairs by which of the two did worse.

    Attributes:
        worse: the candidate only.
        better: the other one only.
        ties: both or neither.
    """

    worse: int = 0
    better: int = 0
    ties: int = 0


_NOBODY: Final = Signs()


@dataclass(frozen=True, slots=True)
class PairTotals:
    """One candidate's pairs.

    Attributes:
        model: its name.
        salt: of the shadow, which names the rollout's.
        stable: the version that the clients' answers are of.
        candidate: the version that got copies.
        epoch: the newest that a pair was answered under.
        compared: pairs in which both answered well and both answers could be read.
        disagreed: those whose outputs differ by the rules.
        errors: pairs by who failed.
        slower: pairs by who took more than 1.1 times as long as the other.
        noise: triples by whose answer differs from the client's: the candidate's, or stable's second one.
        noise_compared: pairs of stable's two answers that were compared.
        noise_disagreed: those that differ.
        unread: pairs of which an answer could not be decoded, or was too long to be kept.
        offered: requests that were in the sample, as gateways' workers told.
        sent: those of which a copy was sent.
        shed: those of which none was, by reason.

    Raises:
        ValueError: one of them is something else, or more disagree than were compared.
    """

    model: str
    salt: str
    stable: int
    candidate: int
    epoch: int
    compared: int = 0
    disagreed: int = 0
    errors: Signs = _NOBODY
    slower: Signs = _NOBODY
    noise: Signs = _NOBODY
    noise_compared: int = 0
    noise_disagreed: int = 0
    unread: int = 0
    offered: int = 0
    sent: int = 0
    shed: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _text(self.model, "a model")
        _text(self.salt, "a salt", least=0)
        _number(self.stable, "a version", least=1)
        _number(self.candidate, "a version", least=1)
        _number(self.epoch, "an epoch")
        for name in _COUNTS:
            _number(getattr(self, name), f"a total ({name})")
        for name in _SIGNS:
            object.__setattr__(self, name, _signs(getattr(self, name), name))
        if self.disagreed > self.compared or self.noise_disagreed > self.noise_compared:
            raise ValueError("more pairs disagree than were compared")
        shed = dict(self.shed)
        for reason, count in shed.items():
            _text(reason, "a reason")
            _number(count, "a total (shed)")
        object.__setattr__(self, "shed", MappingProxyType(shed))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        signs = {name: getattr(self, name)._asdict() for name in _SIGNS}
        named = {name: getattr(self, name) for name in ("model", "salt", "stable", "candidate", "epoch")}
        return {**named, **counts, **signs, "shed": dict(self.shed)}


@dataclass(frozen=True, slots=True)
class PairMessage:
    """What one keeper says.

    Attributes:
        keeper: its gateway's id and its own boot id, with a blank between: what it counted begins with that.
        series: that have changed.
        whole: whether every series that it has is in it. The first one of a keeper is, and one every ten seconds.

    Raises:
        ValueError: one of them is something else, or two series are of the same candidate and salt.
    """

    keeper: str
    series: tuple[PairTotals, ...] = ()
    whole: bool = False

    def __post_init__(self) -> None:
        _text(self.keeper, "a keeper")
        named = {(one.model, one.salt, one.stable, one.candidate) for one in self.series}
        if len(named) < len(self.series):
            raise ValueError("a series is told twice")

    def encode(self) -> bytes:
        """As it stands in the stream; `pair_message_from` reads it."""
        series = [one.plain() for one in self.series]
        said = {"reader": READER, "keeper": self.keeper, "series": series, "whole": self.whole}
        return json.dumps(said, separators=(",", ":")).encode()


def pair_message_from(raw: bytes) -> PairMessage:
    """What `PairMessage.encode` wrote. Members of a newer release are passed over, its forms are not.

    Raises:
        ValueError: it is something else, or of a later form than this release understands.
    """
    said = members_of(raw, "a keeper's totals", READER)
    try:
        return PairMessage(said["keeper"], tuple(series_from(one) for one in said["series"]), said.get("whole") is True)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a keeper's totals are damaged: {error}") from error


def series_from(said: Mapping[str, Any]) -> PairTotals:
    """What `PairTotals.plain` gave; what is something else raises ValueError, KeyError, TypeError or AttributeError."""
    told: dict[str, Any] = {name: said[name] for name in ("model", "salt", "stable", "candidate", "epoch", *_COUNTS)}
    for name in _SIGNS:
        told[name] = Signs(said[name]["worse"], said[name]["better"], said[name]["ties"])
    return PairTotals(**told, shed=said["shed"])


def _signs(said: object, name: str) -> Signs:
    if not isinstance(said, Signs):
        raise ValueError(f"{name} are {said!r:.60}: they are pairs by who did worse")  # noqa: TRY004 (bad input)
    for count in said:
        _number(count, f"a total ({name})")
    return said


def _text(value: object, what: str, *, least: int = 1) -> None:
    if type(value) is not str or not least <= len(value) <= _LONGEST:
        raise ValueError(f"{value!r:.60} names no such thing as {what}: it takes text")


def _number(value: object, what: str, *, least: int = 0) -> None:
    if type(value) is not int or value < least:
        raise ValueError(f"{value!r:.60} is not {what}: a whole number from {least} up")
