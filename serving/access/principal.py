"""Somebody who was let in, and what they may use up.

How they proved who they are is `keys` (API keys) and `tokens` (JWT); what they may do with it is `table`.
"""

from __future__ import annotations

from dataclasses import dataclass

from serving.access.roles import Needs, Role, gives

MOST_MODELS = 1_000
MOST = 2**40
"""Of anything that a limit counts; more is a typing error."""
LEAST_RATE = 0.001
"""Requests per second: of less, nobody waits for the next one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one key may use up on the prediction port. None is no limit of its own.

    Attributes:
        rate_per_s: requests per second over all gateways, a token bucket's refill.
        burst: the bucket's size in requests; None is one second's worth, at least 1.
        in_flight: requests that may be unanswered at once, over all gateways.
        max_body: of one request, bytes.
    """

    rate_per_s: float | None = None
    burst: int | None = None
    in_flight: int | None = None
    max_body: int | None = None

    def __post_init__(self) -> None:
        """Refuses what could not be a limit.

        Raises:
            ValueError: with a sentence.
        """
        rate = self.rate_per_s
        if rate is not None and not _is_rate(rate):
            raise ValueError(f"{rate!r:.40} is no rate: it is requests per second, from {LEAST_RATE} to {MOST:,}")
        for name in ("burst", "in_flight", "max_body"):
            count = getattr(self, name)
            if count is not None and (type(count) is not int or not 1 <= count <= MOST):
                raise ValueError(f"a limit says {name}={count!r}: it is a whole number from 1 to {MOST:,}")
        if self.burst is not None and rate is None:
            raise ValueError("a burst goes with a rate: without one there is no bucket to be filled again")

    @property
    def none(self) -> bool:
        """Whether there is nothing to enforce."""
        return self.rate_per_s is None and self.in_flight is None and self.max_body is None

    @property
    def bucket(self) -> float:
        """The token bucket's size, requests; 0 without a rate."""
        if self.rate_per_s is None:
            return 0.0
        return float(max(1.0, self.rate_per_s) if self.burst is None else self.burst)


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and LEAST_RATE <= value <= MOST


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        id: what limits are counted under and the ledger shows: a key's id, or 'issuer subject' of a token.
        name: for people.
        kind: `key`, `token`, or `anonymous` where nobody is asked who they are.
        role: what they are let in for.
        models: the models that a `predict` may ask; None is all. Roles above are not narrowed.
        limits: what they may use up.
        expires_s: when that ends, seconds since 1970; None for never.
    """

    id: str
    name: str
    kind: str
    role: Role
    models: frozenset[str] | None = None
    limits: Limits = UNLIMITED
    expires_s: float | None = None

    def may(self, needs: Needs, model: str = "") -> bool:
        """Whether this is open to them; `model` is the one that is asked about, if one is."""
        if gives(self.role) < needs:
            return False
        return needs is Needs.NOTHING or self.sees(model)

    def sees(self, model: str) -> bool:
        """Whether they may know this model; one that is not narrowed sees all."""
        return self.models is None or self.role is not Role.PREDICT or not model or model in self.models

    @property
    def words(self) -> str:
        """For the ledger and the security log: 'key deploy-bot (k7f3…)', never a secret."""
        return self.name if self.kind == "anonymous" else f"{self.kind} {self.name} ({self.id})"


ANONYMOUS = Principal("", "anonymous", "anonymous", Role.ADMINISTER)
"""Whoever reaches an installation that asks nobody for a key: it listens on loopback only."""
