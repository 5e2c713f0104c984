"""Which requests are sampled, and how many of them may be: what gateways and keepers are told, as plain values.

Whether a request is in the share hangs on its nonce alone, under a salt of its own, so that every arm and every gateway
keep the same requests whatever they were split by. A share bounds nothing where traffic is unknown: `Allowance` does,
for each model and each process. Nothing here does I/O or reads a clock, and the gateway may import it: no numpy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Final, Self

from xxhash import xxh3_64_intdigest

WHOLE: Final = 1_000_000
"""Parts in a share of everything."""

_SHARE_SALT: Final = b"drift"
_KEY_SALT: Final = b"drift row"
_LARGEST: Final = 2**53


@dataclass(frozen=True, slots=True)
class SampleRule:
    """How much of one model's traffic is sampled.

    Attributes:
        share_ppm: of its requests, in parts per million.
        rows_per_s: that one gateway may sample.
        bytes_per_s: that one gateway may sample.
        stream_bytes: that may wait for whoever reads them; beyond it the oldest fall off.
        always: whether it is sampled though none of its versions has a baseline, so that one can be learned.

    Raises:
        ValueError: one of them is none.
    """

    share_ppm: int = WHOLE
    rows_per_s: float = 50.0
    bytes_per_s: float = 1024.0 * 1024.0
    stream_bytes: int = 16 * 1024 * 1024
    always: bool = False

    def __post_init__(self) -> None:
        if type(self.share_ppm) is not int or not 0 <= self.share_ppm <= WHOLE:
            raise ValueError(f"a share of samples is 0 to {WHOLE:,} ppm, not {self.share_ppm!r}")
        for name in ("rows_per_s", "bytes_per_s", "stream_bytes"):
            value = getattr(self, name)
            if type(value) not in {int, float} or not 0 < value <= _LARGEST:
                raise ValueError(f"{name} of samples is a number above 0, not {value!r:.40}")
        if type(self.always) is not bool:
            raise ValueError(f"a model is always sampled or not, which is not {self.always!r:.40}")


@dataclass(frozen=True, slots=True)
class SampleRules:
    """The same of all models.

    Attributes:
        usual: of a model that `models` does not name; None where none is sampled.
        models: by name; None for one that is not sampled.
        redact: names of inputs, outputs and segments whose values are not sampled, with `*` for anything, alone or
            after the model's name and a colon.

    Raises:
        ValueError: one of them is none.
    """

    usual: SampleRule | None = field(default_factory=SampleRule)
    models: Mapping[str, SampleRule | None] = field(default_factory=dict)
    redact: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", MappingProxyType(dict(self.models)))
        object.__setattr__(self, "redact", tuple(self.redact))

    def of(self, model: str) -> SampleRule | None:
        """Those of this model; None where it is not sampled."""
        return self.models.get(model, self.usual)

    def to_json(self) -> str:
        """One line; `from_json` reads it."""
        models = {name: _plain(rule) for name, rule in self.models.items()}
        return json.dumps({"usual": _plain(self.usual), "models": models, "redact": list(self.redact)})

    @classmethod
    def from_json(cls, line: str) -> Self:
        """What `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            said = json.loads(line)
            models = {str(name): _rule(rule) for name, rule in said["models"].items()}
            return cls(_rule(said["usual"]), models, tuple(map(str, said["redact"])))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"these are no rules of samples: {error!r}") from error


class Allowance:
    """So many a second, and a second's worth at once: a token bucket that the last to take from may leave in debt.

    Args:
        per_s: how many.
        now_s: seconds of a clock that only goes forward.
    """

    __slots__ = ("_at_s", "_left", "_most", "_per_s", "opens_s")

    def __init__(self, per_s: float, now_s: float) -> None:
        self.opens_s = now_s
        """Before then nothing may be taken: whoever asks often compares, and asks `is_open` later on only."""
        self._per_s = per_s
        self._most = max(1.0, per_s)
        self._left = self._most
        self._at_s = now_s

    def is_open(self, now_s: float) -> bool:
        """Whether anything may be taken."""
        if now_s < self.opens_s:
            return False
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return self._left >= 1.0

    def take(self, amount: float = 1.0) -> None:
        """Takes so much, whether or not it is there: what is one cannot be taken in part."""
        self._left -= amount
        self.opens_s = self._at_s + (1.0 - self._left) / self._per_s


def drawn(nonce: int, share_ppm: int) -> bool:
    """Whether the request with this nonce is in the share; a larger share holds every smaller one."""
    return share_ppm >= WHOLE or (share_ppm > 0 and _hashed(_SHARE_SALT, nonce) % WHOLE < share_ppm)


def key_of(nonce: int) -> int:
    """The key of a request's rows, 64 bits, which has nothing to do with whether it was drawn."""
    return _hashed(_KEY_SALT, nonce)


def _hashed(salt: bytes, nonce: int) -> int:
    return xxh3_64_intdigest(salt + nonce.to_bytes(8, "big"))


def _plain(rule: SampleRule | None) -> dict[str, Any] | None:
    return None if rule is None else asdict(rule)


def _rule(said: Mapping[str, Any] | None) -> SampleRule | None:
    return None if said is None else SampleRule(**said)
