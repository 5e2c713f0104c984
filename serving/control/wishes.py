"""What an operator wants to run beside what the settings declare: values, and what both come to together.

A wish is one version of a model that is to have servers until somebody takes the wish away; it stands above what the
settings say of the same version. While an operation brings it about it remembers what was there before it, so that
taking it back needs nobody's memory. Where wishes are kept is a store's; what they lead to is `reconciler`'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

from serving.pools import PoolSpec

ModelVersion = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Wish:
    """One version of a model that is to be run.

    Attributes:
        spec: what is to run.
        revision: raised by every change of the wish.
        operation: the id of the operation that brings it about; empty once that has come to a good end.
        before: what was wished before that operation; None where nothing was.
    """

    spec: PoolSpec
    revision: int = 0
    operation: str = ""
    before: PoolSpec | None = None

    @property
    def key(self) -> ModelVersion:
        """Whose it is: (model, version)."""
        return self.spec.key

    def settled(self) -> Wish:
        """The same, once its servers are ready."""
        return replace(self, operation="", before=None)

    def encode(self) -> str:
        """The wish as JSON, without its revision, which the store keeps beside it."""
        said: dict[str, Any] = {"spec": self.spec.plain()}
        if self.operation:
            said["operation"] = self.operation
        if self.before is not None:
            said["before"] = self.before.plain()
        return json.dumps(said, separators=(",", ":"), sort_keys=True)


def decode_wish(text: str | bytes, revision: int) -> Wish:
    """The wish that `Wish.encode` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        said = json.loads(text)
        before = said.get("before")
        return Wish(
            PoolSpec.from_plain(said["spec"]),
            revision,
            said.get("operation", ""),
            None if before is None else PoolSpec.from_plain(before),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no wish: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Touched:
    """When versions were last routed to, deployed or woken, by the store's clock.

    Attributes:
        now_ms: the store's time, milliseconds since 1970.
        at_ms: by (model, version); 0 for one that was put to sleep.
    """

    now_ms: int
    at_ms: Mapping[ModelVersion, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at_ms", MappingProxyType(dict(self.at_ms)))


class WishStore(Protocol):
    """Where wishes are kept, and times that count for them."""

    async def wishes(self) -> Sequence[Wish]:
        """All of them, by model and version."""

    async def wish(self, model: str, version: int) -> Wish | None:
        """The wish of that version."""

    async def put_wish(self, wish: Wish, *, who: str, why: str = "") -> Wish | None:
        """Writes a wish and its ledger entry, and touches the version, if the wish is still at that revision.

        Args:
            wish: at the revision that was read, 0 for a new one.
            who: for the ledger.
            why: for the ledger.

        Returns:
            The wish at its new revision; None where somebody else was faster.
        """

    async def take_wish(self, wish: Wish, *, who: str, why: str = "") -> bool:
        """Takes a wish away, with a ledger entry, if it is still at that revision; whether it did."""

    async def touched(self) -> Touched:
        """When versions were last touched."""

    async def touch(self, versions: Iterable[ModelVersion]) -> None:
        """These versions are routed to, deployed or woken now."""

    async def put_to_sleep(self, model: str, version: int) -> None:
        """This version was last touched so long ago that it sleeps as soon as nothing routes to it."""

    async def first_of(self, boot: str) -> bool:
        """Whether nobody has asked this for that boot of the installation before."""


def desired(declared: Iterable[PoolSpec], wishes: Iterable[Wish]) -> dict[ModelVersion, PoolSpec]:
    """What is to run, by (model, version): what the settings declare, and above it what is wished."""
    return {spec.key: spec for spec in declared} | {wish.key: wish.spec for wish in wishes}


def measured(wanted: Mapping[ModelVersion, PoolSpec]) -> dict[ModelVersion, float]:
    """What each replica carries, requests a second, of the versions of which an operator has said so."""
    return {key: spec.options.carries_rps for key, spec in wanted.items() if spec.options.carries_rps is not None}
