"""Request ids as gateways make them, and a mixture of feedback whose outcome is known."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from router.choose import Reason
from router.request_id import Key, KeyRing, RequestId
from serving.leases import IdKeys


def ring_of(keys: IdKeys) -> KeyRing:
    """The ring that gateways mint with."""
    return KeyRing(keys.secrets, keys.current)


def minted(
    key: Key,
    nonce: int,
    *,
    model: str = "digits",
    version: int = 1,
    assigned: int | None = None,
    epoch: int = 1,
    at_s: int = 0,
    unit: str | None = None,
    reason: Reason = Reason.STABLE,
    synthetic: bool = False,
) -> str:
    """A request id."""
    said = RequestId(
        nonce,
        key.model_hash(model),
        version if assigned is None else assigned,
        version,
        epoch,
        at_s,
        nonce if unit is None else key.unit_hash(unit.encode()),
        reason,
        unit is not None,
        synthetic,
    )
    return key.mint(said)


@dataclass
class Mixture:
    """Items in the order in which they are sent, and what is to come of them.

    Attributes:
        items: of feedback.
        kinds: how many values become what.
        sums: of each (version, metric) how many there are, what they add up to, and what their squares do.
    """

    items: list[dict[str, Any]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    sums: dict[tuple[int, str], tuple[int, Fraction, Fraction]] = field(default_factory=dict)


def mixture(ring: KeyRing, count: int, *, now_s: int, horizon_s: int, seed: int = 1) -> Mixture:
    """So many request ids, with duplicates, out of order, some forged, some late, some of no model that is known."""
    rng, key, stranger = random.Random(seed), ring.current, Key(ring.current.key_id, b"x" * 32)
    found, again = Mixture(), []
    for nth in range(count):
        luck, version = rng.random(), rng.choice((1, 2))
        at_s = now_s - rng.randrange(horizon_s // 2)
        values = {"reward": round(rng.uniform(-50, 50), 6), "click": rng.randrange(2)}
        kind, maker = "accepted", key
        how: dict[str, Any] = {"version": version, "at_s": at_s}
        if luck < 0.05:
            kind, maker = "forged", stranger
        elif luck < 0.1:
            kind, how = "late", {**how, "at_s": now_s - horizon_s - 3_600 - nth % 1_000}
        elif luck < 0.12:
            kind, how = "unknown", {**how, "model": "nothing"}
        elif luck < 0.14:
            kind, how = "synthetic", {**how, "synthetic": True}
        item = {"request_id": minted(maker, nth * 7_919 + 3, **how), "metrics": values}
        found.items.append(item)
        found.kinds[kind] += len(values)
        if kind == "accepted":
            _count(found, version, values)
            again += [{**item, "metrics": {"reward": values["reward"]}}] * (rng.random() < 0.2)
    found.kinds["duplicate"] += len(again)
    found.items += again
    rng.shuffle(found.items)
    return found


def _count(found: Mixture, version: int, values: dict[str, float]) -> None:
    for name, value in values.items():
        had = found.sums.get((version, name), (0, Fraction(0), Fraction(0)))
        exact = Fraction(repr(value))
        found.sums[version, name] = had[0] + 1, had[1] + exact, had[2] + exact * exact


def cut(items: Sequence[dict[str, Any]], size: int) -> list[list[dict[str, Any]]]:
    """In batches."""
    return [list(items[begin : begin + size]) for begin in range(0, len(items), size)]
