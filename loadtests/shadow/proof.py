"""One proof, how much of it is wanted, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from loadtests.rollback.figures import Figure

__all__ = ["Asked", "Figure", "Proof"]


class Asked(NamedTuple):
    """How much of a proof.

    Attributes:
        quick: whether it may be shorter.
        seed: what is drawn by.
        runs: simulated rollouts of each kind.
    """

    quick: bool = False
    seed: int = 1
    runs: int = 200


@dataclass(frozen=True, slots=True)
class Proof:
    """One of them.

    Attributes:
        name: for `--only`.
        words: what happens.
        plays: makes it happen.
    """

    name: str
    words: str
    plays: Callable[[Asked], Sequence[Figure]]
