"""Values of a metric, summed up so that no order and no restart changes the sums: whole numbers, no floats.

A value is kept as whole billionths. Its square is then a whole number as well, and both are too large for the counters
of a store, which have 64 bits. So each is cut into limbs of nine decimal digits, every limb is a counter of its own,
and whoever reads puts them together. Nothing is rounded but a value's tenth decimal, and a limb has room for more than
nine billion values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from router.evidence.errors import EvidenceError
from router.evidence.samples import Sample

LARGEST: Final = 1e9
"""No value is further from 0."""
DECIMALS: Final = 9

_UNIT: Final = 10**DECIMALS
_LIMB: Final = 10**9
_SUMS: Final = ("s0", "s1", "s2")
_SQUARES: Final = ("q0", "q1", "q2", "q3", "q4")
FIELDS: Final = ("n", *_SUMS, *_SQUARES)
"""The counters of one sum, in order: how many, limbs of the sum, limbs of the sum of squares; the smallest first."""


@dataclass(frozen=True, slots=True)
class Values:
    """How many values there were, what they add up to, and what their squares do.

    Attributes:
        count: n.
        total: their sum, in billionths.
        squares: the sum of their squares, in billionths of billionths.
    """

    count: int = 0
    total: int = 0
    squares: int = 0

    def __post_init__(self) -> None:
        """Refuse what no values add up to."""
        if self.count < 0 or self.squares * self.count < self.total * self.total:
            raise EvidenceError(f"no {self.count} values have these sums: {self.total}, {self.squares}")

    @classmethod
    def of(cls, values: Iterable[float]) -> Values:
        """From the values themselves."""
        whole = [billionths(one) for one in values]
        return cls(len(whole), sum(whole), sum(one * one for one in whole))

    def plus(self, other: Values) -> Values:
        """Both together."""
        return Values(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def since(self, before: Values) -> Values:
        """What has come since those; they are part of these."""
        return Values(self.count - before.count, self.total - before.total, self.squares - before.squares)

    @property
    def mean(self) -> float:
        """Their mean; 0 without any."""
        return float(Fraction(self.total, self.count * _UNIT)) if self.count else 0.0

    @property
    def sum(self) -> float:
        """What they add up to."""
        return float(Fraction(self.total, _UNIT))

    @property
    def sample(self) -> Sample:
        """The same as the tests want it; the spread is computed from whole numbers, so no digits cancel."""
        if not self.count:
            return Sample()
        spread = Fraction(self.squares * self.count - self.total * self.total, self.count * _UNIT * _UNIT)
        return Sample(self.count, self.mean, float(spread))


def billionths(value: float) -> int:
    """The value as whole billionths, of the decimals that people wrote; halves to even."""
    return int(Decimal(repr(value)).scaleb(DECIMALS).to_integral_value(ROUND_HALF_EVEN))


def counters(value: float) -> Mapping[str, int]:
    """What one value adds to each counter; those to which it adds nothing are left out."""
    whole = billionths(value)
    parts = {"n": 1, **_limbs(whole, _SUMS), **_limbs(whole * whole, _SQUARES)}
    return MappingProxyType({name: part for name, part in parts.items() if part})


def values_from(said: Mapping[str, int]) -> Values:
    """The values that have these counters.

    Raises:
        EvidenceError: no values have.
    """
    return Values(said.get("n", 0), _whole(said, _SUMS), _whole(said, _SQUARES))


def _limbs(number: int, names: tuple[str, ...]) -> dict[str, int]:
    sign, left = (-1 if number < 0 else 1), abs(number)
    found = {}
    for name in names:
        left, limb = divmod(left, _LIMB)
        found[name] = sign * limb
    return found


def _whole(said: Mapping[str, int], names: tuple[str, ...]) -> int:
    return sum(said.get(name, 0) * _LIMB**nth for nth, name in enumerate(names))
