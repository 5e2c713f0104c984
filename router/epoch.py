"""The whole of what gateways run at one moment: an epoch, and for each model the digest of its policy.

A snapshot is swapped whole. Its head, (epoch, digest, parent digest), is what a store keeps under one key and what a
gateway acknowledges; whether a new head may follow the one that runs is decided here, and carried out elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from types import MappingProxyType
from typing import NamedTuple

from router.errors import PolicyError

BEGINNING = ""
"""The parent of the first snapshot."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model in a snapshot: the digest of its policy, and how often it was changed (its `ETag`)."""

    digest: str
    revision: int

    def __post_init__(self) -> None:
        if not isinstance(self.digest, str) or not self.digest:
            raise PolicyError(f"{self.digest!r} is no digest")
        if not isinstance(self.revision, int) or self.revision < 1:
            raise PolicyError(f"{self.revision!r} is no revision: revisions count from 1")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every model's policy at one epoch.

    Attributes:
        epoch: counts the changes of all models together, from 1; 0 is the empty beginning.
        parent: the digest of the snapshot that this one changed.
        models: by model name.
        staged: digests of policies by model that are about to be active: every gateway has them before any uses them.
    """

    epoch: int
    parent: str
    models: Mapping[str, Entry]
    staged: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.epoch, int) or self.epoch < 0:
            raise PolicyError(f"{self.epoch!r} is no epoch: epochs count from 0")
        if not isinstance(self.parent, str):
            raise PolicyError(f"{self.parent!r} is no digest of a parent")
        if strays := sorted(self.staged.keys() - self.models.keys()):
            raise PolicyError(f"a policy is staged for {strays[0]}, which has none that is active")
        if not all(isinstance(digest, str) and digest for digest in self.staged.values()):
            raise PolicyError("what is staged has a digest")
        object.__setattr__(self, "models", MappingProxyType(dict(self.models)))
        object.__setattr__(self, "staged", MappingProxyType(dict(self.staged)))

    @property
    def digests(self) -> frozenset[str]:
        """Of every policy that it needs, active or staged."""
        return frozenset({*(entry.digest for entry in self.models.values()), *self.staged.values()})

    def revision_of(self, model: str) -> int:
        """The model's revision, 0 where it has no policy yet."""
        entry = self.models.get(model)
        return entry.revision if entry else 0

    def with_policy(self, model: str, policy_digest: str, *, parent: str) -> Snapshot:
        """The next epoch, in which the model has this policy, and none is staged for it.

        Args:
            model: whose.
            policy_digest: the policy's.
            parent: this snapshot's own digest.
        """
        entry = Entry(policy_digest, self.revision_of(model) + 1)
        models = {**self.models, model: entry}
        return replace(self._without_staged(model), epoch=self.epoch + 1, parent=parent, models=models)

    def with_staged(self, model: str, policy_digest: str | None, *, parent: str) -> Snapshot:
        """The next epoch, in which this policy is staged for the model (None: none is) and nothing else is changed."""
        rest = self._without_staged(model)
        staged = rest.staged if policy_digest is None else {**rest.staged, model: policy_digest}
        return replace(rest, epoch=self.epoch + 1, parent=parent, staged=staged)

    def _without_staged(self, model: str) -> Snapshot:
        return replace(self, staged={name: digest for name, digest in self.staged.items() if name != model})


EMPTY = Snapshot(0, BEGINNING, {})


class Head(NamedTuple):
    """What names a snapshot: its epoch, its digest, and the digest of the one that it changed."""

    epoch: int
    digest: str
    parent: str


NO_HEAD = Head(0, BEGINNING, BEGINNING)


class Step(Enum):
    """What a gateway does about the head that a store shows it."""

    STAY = auto()
    TAKE = auto()
    HOLD = auto()


def step(running: Head, shown: Head, digest_at_running_epoch: str | None) -> Step:
    """Whether to take the head that the store shows, given the one that runs.

    A head that does not descend from the running one (older, or another digest, or none: a failover that lost
    writes) is held and reported, never taken, for no share may grow because the store forgot.

    Args:
        running: what this gateway runs; `NO_HEAD` before the first.
        shown: what the store says is current; `NO_HEAD` where it has none.
        digest_at_running_epoch: what the store remembers as the digest of the running epoch, None where it
            remembers nothing of it.
    """
    if shown[:2] == running[:2]:
        return Step.STAY
    if running == NO_HEAD:
        return Step.TAKE
    descends = shown.epoch > running.epoch and digest_at_running_epoch == running.digest
    return Step.TAKE if descends else Step.HOLD
