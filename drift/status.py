"""How a version is watched, and what each of its windows showed: what the sidecar leaves for people.

Plain values that JSON takes and gives back; nothing here computes, so whoever shows it needs no numerics.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType, UnionType
from typing import Any, Final, TypeVar, get_args, get_type_hints

from drift.errors import Damaged

_LARGEST: Final = 1e300
_MOST: Final = 2**63 - 1
_PLAIN: Final = frozenset({int, float, str, bool})
_Plain = TypeVar("_Plain")
_KINDS: Final[dict[type, Mapping[str, Any]]] = {}


@dataclass(frozen=True, slots=True)
class LayerStatus:
    """One layer after the last window that was heard.

    Attributes:
        layer: its name, a `drift.reading.Layer`.
        statistic: what it measures, in a word.
        value: of the statistic in the last window.
        threshold: the value that one calm window in twenty exceeds.
        p_value: of the last window alone.
        log_e: the last window's evidence.
        log_sum: the evidence that was added up; 0 where there is none.
        log_alarm: what it takes to alarm.
        since_s: when that evidence began to rise, seconds since 1970; None while it does not.
        waiting: why nothing was measured; empty where it was.
        features: names of those that moved in the last window, the farthest first.
        heard_s: of labels, which are looked at by themselves, when they last were, seconds since 1970; else None.
    """

    layer: str
    statistic: str
    value: float
    threshold: float
    p_value: float
    log_e: float
    log_sum: float
    log_alarm: float
    since_s: float | None = None
    waiting: str = ""
    features: tuple[str, ...] = ()
    heard_s: float | None = None


@dataclass(frozen=True, slots=True)
class EpisodeStatus:
    """The drift that is under way, or the last one.

    Attributes:
        identity: findings of it have the same.
        since_s: when suspicion began, seconds since 1970.
        raised_s: when it was alarmed.
        layers: that joined it, in their order.
        closed_s: when it ended; None while it lasts.
    """

    identity: str
    since_s: float
    raised_s: float
    layers: tuple[str, ...]
    closed_s: float | None = None


@dataclass(frozen=True, slots=True)
class UnderWay:
    """The window that is being filled.

    Attributes:
        rows: that it holds.
        wanted_rows: at which it may close.
        first_s: when its first row came, seconds since 1970; None where it holds none.
        wanted_s: seconds that it spans at least.
    """

    rows: int = 0
    wanted_rows: int = 0
    first_s: float | None = None
    wanted_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Samples:
    """What became of a model's samples, running totals over all of its gateways.

    Attributes:
        offered: rows that were to be sampled, as far as keepers told.
        dropped: of those, dropped by keepers, which are bounded.
        lost: rows that were written and fell off the stream before anybody read them.
        unreadable: entries of the stream that were no batches.
        pending: batches in the stream that are not counted yet.
    """

    offered: int = 0
    dropped: int = 0
    lost: int = 0
    unreadable: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """How one version is watched.

    Attributes:
        model: whose.
        version: which.
        sidecar: id of the process that watches it.
        sentence: in words how it stands, such as why nothing is measured.
        baseline: digest; empty where there is none.
        learned: whether the baseline was learned from live requests.
        learning: rows that it was learned of so far, where one is being learned; None where none is.
        learn_rows: how many that takes.
        backend: which detectors.
        rows: that were folded in since this baseline came.
        windows: that were heard since then.
        last_s: when the newest of the rows came, seconds since 1970; None where there was none.
        heard_s: when the last window ended; None where there was none.
        told_s: when this was written.
        under_way: the window that is being filled.
        layers: after the last window.
        episode: the open one or the last one; None where there was none.
        samples: of the whole model.
        strata: the hours that the last window was compared with, in words; empty where all are alike.
        encoders: in words, which model makes what of which input; empty where none does.
    """

    model: str
    version: int
    sidecar: str
    sentence: str
    told_s: float
    baseline: str = ""
    learned: bool = False
    learning: int | None = None
    learn_rows: int = 0
    backend: str = "sluice"
    rows: int = 0
    windows: int = 0
    last_s: float | None = None
    heard_s: float | None = None
    under_way: UnderWay = field(default_factory=UnderWay)
    layers: tuple[LayerStatus, ...] = ()
    episode: EpisodeStatus | None = None
    samples: Samples = field(default_factory=Samples)
    strata: str = ""
    encoders: tuple[str, ...] = ()

    @property
    def is_drifting(self) -> bool:
        """Whether an episode is open."""
        return self.episode is not None and self.episode.closed_s is None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class LayerSeen:
    """What one layer said of a window.

    Attributes:
        value: of its statistic.
        threshold: the value that one calm window in twenty exceeds.
        log_e: its evidence.
        log_sum: all evidence so far, 0 where there is none.
    """

    value: float
    threshold: float
    log_e: float
    log_sum: float


@dataclass(frozen=True, slots=True)
class WindowSeen:
    """One window of the past.

    Attributes:
        first_s: when its first row came, seconds since 1970.
        last_s: when its last row came.
        rows: how many.
        baseline: digest of what it was held against.
        log_alarm: the evidence that it takes to alarm.
        alarmed: whether an episode was open after it.
        episode: its identity; empty where none was open.
        layers: of those that could say anything, by name.
        strata: the hours that it was compared with, in words; empty where all are alike.
    """

    first_s: float
    last_s: float
    rows: int
    baseline: str
    log_alarm: float
    alarmed: bool
    episode: str = ""
    layers: Mapping[str, LayerSeen] = field(default_factory=dict)
    strata: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        said = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return {**said, "layers": {name: dataclasses.asdict(one) for name, one in self.layers.items()}}


def read(plain: Mapping[str, Any]) -> Status:
    """The status in plain values; members of a newer release are passed over.

    Raises:
        Damaged: they are none.
    """
    with _reading("status"):
        said = _known(Status, plain)
        said["under_way"] = _made(UnderWay, said.get("under_way", {}))
        said["samples"] = _made(Samples, said.get("samples", {}))
        said["layers"] = tuple(layer_read(one) for one in said.get("layers", ()))
        said["encoders"] = _texts(said.get("encoders", ()))
        episode = said.get("episode")
        said["episode"] = None if episode is None else _episode(episode)
        return _made(Status, said)


def window_read(plain: Mapping[str, Any]) -> WindowSeen:
    """The window in plain values; members of a newer release are passed over.

    Raises:
        Damaged: they are none.
    """
    with _reading("window that was seen"):
        said = _known(WindowSeen, plain)
        said["layers"] = {str(name): _made(LayerSeen, one) for name, one in said["layers"].items()}
        return _made(WindowSeen, said)


def layer_read(plain: Mapping[str, Any]) -> LayerStatus:
    """The layer in plain values; what is none raises KeyError, TypeError, ValueError or AttributeError."""
    return _made(LayerStatus, {**plain, "features": _texts(plain.get("features", ()))})


def finite(value: float) -> float:
    """The number, or one that JSON has in its place: it has no infinity."""
    return value if math.isfinite(value) else math.copysign(_LARGEST, value) if not math.isnan(value) else 0.0


def evidence(log_sum: float) -> float:
    """Evidence as it is shown: JSON has no -inf, and less than none is none."""
    return max(log_sum, 0.0) if math.isfinite(log_sum) else 0.0


def _episode(plain: Mapping[str, Any]) -> EpisodeStatus:
    return _made(EpisodeStatus, {**plain, "layers": _texts(plain["layers"])})


def _texts(said: Iterable[object]) -> tuple[str, ...]:
    return tuple(map(str, said))


def _made(kind: type[_Plain], plain: Mapping[str, Any]) -> _Plain:
    """A value of that kind, each member of which is what it is to be: whoever reads it reckons with that."""
    said = _known(kind, plain)
    return kind(**{name: _fit(value, _members(kind)[name], name) for name, value in said.items()})


def _members(kind: type) -> Mapping[str, Any]:
    """What each member is to be: looked up once, for there are thousands of windows."""
    if kind not in _KINDS:
        _KINDS[kind] = get_type_hints(kind)
    return _KINDS[kind]


def _fit(value: object, kind: object, name: str) -> object:
    """The value as a member of that kind.

    Raises:
        ValueError, OverflowError: it is none.
    """
    allowed = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if value is None and type(None) in allowed:
        return None
    if float in allowed and type(value) in {int, float}:
        return float(value)  # type: ignore[arg-type]
    plain = {one for one in allowed if one in _PLAIN}
    if plain and type(value) not in plain:
        raise ValueError(f"{name} is {value!r:.40}")
    if type(value) is int and not -_MOST <= value <= _MOST:
        raise ValueError(f"{name} is {value!r:.40}")
    return value


def _known(kind: type, plain: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in dataclasses.fields(kind)}
    return {name: value for name, value in plain.items() if name in names}


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Damaged(f"This is no {what}: {error}.") from error
