"""From evidence window by window to one alarm: at most one false one in so many days, and one episode for one drift.

Each layer adds up its e-values by Shiryaev and Roberts' rule, SR <- (1 + SR) e, and is alarmed once SR reaches A: with
e-values whose mean is one at most, A windows pass on average before a false alarm (Shin, Ramdas and Rinaldo 2024,
e-detectors). A is how many windows the budget's days hold, times the layers. Reaching it is not enough: what moved
must be worth it, or the largest windows alarm on trifles.

Layers that are alarmed join one episode. It stays open until windows have been quiet for a while, by a lower level than
the one that raised it, and what comes back before the cool-down is over is the same episode again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from drift.errors import Unfit
from drift.reading import Layer

_DAY_S: Final = 86_400.0
_HELD: Final = math.log(1_000.0)  # a sum is held at a thousand times A, so that quiet is seen within windows
_LOUD: Final = math.log(2.0)  # a window is quiet while e is below this: p above 1/16


@dataclass(frozen=True, slots=True)
class Rules:
    """When to alarm.

    Attributes:
        days: at most one false alarm in so many, on average.
        window_s: how long a window is at least, seconds.
        layers: how many share the budget.
        quiet: so many windows in a row end an episode.
        cool_down_s: what comes back within so many seconds is the same episode.
    """

    days: float = 30.0
    window_s: float = 60.0
    layers: int = 4
    quiet: int = 5
    cool_down_s: float = 3_600.0

    def __post_init__(self) -> None:
        for name in ("days", "window_s", "cool_down_s"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise Unfit(f"An alarm's {name} is {value!r}: it must be above 0 and finite.")
        if self.layers < 1 or self.quiet < 1:
            raise Unfit(
                f"An alarm has {self.layers} layers and ends after {self.quiet} windows: use 1 or more of each."
            )

    @property
    def log_threshold(self) -> float:
        """Ln A: the windows of the budget's days, times the layers."""
        return math.log(max(self.days * _DAY_S / self.window_s, 1.0) * self.layers)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one layer says of one window.

    Attributes:
        log_e: its log e-value.
        worth: whether what moved since suspicion began is large enough.
        certain: whether no statistics are needed.
    """

    log_e: float
    worth: bool = True
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """One layer's sum, and since when it has risen.

    The sum never forgets, so it says that something is wrong and not since when; that is when the product of e-values,
    begun anew whenever it falls to 1 (Page 1954), last began.

    Attributes:
        log_sr: ln SR; -inf at the start.
        log_rise: the log of that product, 0 where it has just begun anew.
        since_s: when its first window began; None while it is 1.
    """

    log_sr: float = -math.inf
    log_rise: float = 0.0
    since_s: float | None = None

    def heard(self, log_e: float, began_s: float, most: float) -> Chain:
        """After one more window."""
        log_sr = min(_log1p_exp(self.log_sr) + log_e, most)
        log_rise = min(self.log_rise + log_e, most)
        if log_rise <= 0:
            return Chain(log_sr)
        return Chain(log_sr, log_rise, began_s if self.since_s is None else self.since_s)


@dataclass(frozen=True, slots=True)
class Episode:
    """One drift, from the alarm to quiet.

    Attributes:
        identity: of it and of nothing else: an idempotency key.
        since_s: when suspicion began.
        raised_s: when the first layer was alarmed.
        layers: that were, in their order.
        quiet: how many windows in a row were.
        closed_s: when it ended; None while it is open.
    """

    identity: str
    since_s: float
    raised_s: float
    layers: tuple[Layer, ...]
    quiet: int = 0
    closed_s: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it lasts."""
        return self.closed_s is None


@dataclass(frozen=True)
class Alarm:
    """Of one subject, such as a version's inputs.

    Attributes:
        subject: whose.
        chains: of each layer that was ever heard.
        episode: the open one, or the last one.
    """

    subject: str
    chains: Mapping[Layer, Chain] = field(default_factory=dict)
    episode: Episode | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "chains", MappingProxyType(dict(self.chains)))

    @property
    def is_raised(self) -> bool:
        """Whether an episode is open."""
        return self.episode is not None and self.episode.is_open

    @property
    def suspects(self) -> bool:
        """Whether any layer's evidence is rising: rows since then belong together."""
        return any(chain.since_s is not None for chain in self.chains.values())

    def heard(self, said: Mapping[Layer, Evidence], began_s: float, ended_s: float, rules: Rules) -> Alarm:
        """After one more window; each window is heard once.

        Args:
            said: by each layer that could say anything.
            began_s: when the window began, seconds since 1970.
            ended_s: when it ended.
            rules: when to alarm.
        """
        most = rules.log_threshold + _HELD
        chains = {layer: self.chains.get(layer, Chain()).heard(one.log_e, began_s, most) for layer, one in said.items()}
        every = {**self.chains, **chains}
        reached = tuple(layer for layer, one in said.items() if _is_reached(one, chains[layer], rules))
        heard = replace(self, chains=every)
        if self.episode is not None and self.episode.is_open:
            return heard.with_window(self.episode, reached, said, ended_s, rules)
        return heard.with_episode(reached, ended_s, rules) if reached else heard

    def with_window(
        self,
        open_one: Episode,
        reached: tuple[Layer, ...],
        said: Mapping[Layer, Evidence],
        now_s: float,
        rules: Rules,
    ) -> Alarm:
        """With the open episode one window older; chains begin anew when it ends."""
        joined = _joined(open_one, reached)
        loud = any(one.log_e > _LOUD for layer, one in said.items() if layer in joined)
        quiet = 0 if loud else open_one.quiet + 1
        episode = replace(open_one, layers=joined, quiet=quiet)
        if episode.quiet < rules.quiet:
            return replace(self, episode=episode)
        return replace(self, chains={}, episode=replace(episode, closed_s=now_s))

    def with_episode(self, reached: tuple[Layer, ...], now_s: float, rules: Rules) -> Alarm:
        """With a new episode, or the last one again."""
        last = self.episode
        if last is not None and last.closed_s is not None and now_s - last.closed_s <= rules.cool_down_s:
            return replace(self, episode=replace(last, layers=_joined(last, reached), quiet=0, closed_s=None))
        since = [self.chains[layer].since_s for layer in reached]
        since_s = min((one for one in since if one is not None), default=now_s)
        identity = hashlib.sha256(f"{self.subject}\n{since_s!r}\n{now_s!r}".encode()).hexdigest()[:32]
        return replace(self, episode=Episode(identity, since_s, now_s, reached))


def _joined(episode: Episode, reached: tuple[Layer, ...]) -> tuple[Layer, ...]:
    return episode.layers + tuple(layer for layer in reached if layer not in episode.layers)


def _is_reached(one: Evidence, chain: Chain, rules: Rules) -> bool:
    return one.certain or (chain.log_sr >= rules.log_threshold and one.worth)


def _log1p_exp(value: float) -> float:
    """ln(1 + e^v)."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))
