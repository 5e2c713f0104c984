"""Who uses a version, and which versions may be used: what traffic and registry must know of each other.

The registry asks before it takes a version away, and is told in sentences who would miss it. Traffic asks before it is
given to a version, and is told which of them the registry has put away or never seen answer. Rollouts are policies
here. A version of the settings is nobody's in the registry, and concerns neither.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from registry.errors import NotFound
from registry.lifecycle import State
from registry.models import ModelName, VersionNumber
from registry.service import Registry
from router.policy import Policy, format_share
from serving.control.errors import Unknown
from serving.control.operations import Operation
from serving.control.views import Current
from serving.control.wishes import Wish

_MOST_OPERATIONS = 1_000
_ROUTABLE = frozenset({State.VERIFIED, State.SERVING})


class Knows(Protocol):
    """Who knows what runs and what is wished (`serving.control.service`)."""

    async def current(self, model: str) -> Current:
        """The model's policy."""

    async def wishes(self) -> Sequence[Wish]:
        """The pools that are wished beside those of the settings."""


class Lists(Protocol):
    """Who knows the long work that is under way (`serving.control.operations`)."""

    async def list(self, *, model: str | None = None, limit: int = 100) -> Sequence[Operation]:
        """The newest operations."""


class Usage:
    """What the registry asks (`registry.service.Usage`).

    Args:
        service: knows policies and wishes.
        operations: knows what is under way; may be set later, for the operations need the registry.
    """

    def __init__(self, service: Knows, operations: Lists | None = None) -> None:
        self._service = service
        self.operations = operations

    async def __call__(self, model: ModelName, version: VersionNumber, /) -> Sequence[str]:
        """A sentence for each user; none where nobody uses it."""
        return (
            *await self._routed(model, version),
            *[
                f"A pool of {wish.spec} is deployed."
                for wish in await self._service.wishes()
                if wish.spec.key == (model, version)
            ],
            *await self._worked_on(model, version),
        )

    async def _routed(self, model: str, version: int) -> Iterable[str]:
        try:
            policy = (await self._service.current(model)).policy
        except Unknown:
            return ()
        return uses_in(policy, model, version)

    async def _worked_on(self, model: str, version: int) -> Iterable[str]:
        if self.operations is None:
            return ()
        listed = await self.operations.list(model=model, limit=_MOST_OPERATIONS)
        return [
            f"The operation {one.id} ({one}) is under way."
            for one in listed
            if not one.ended and version in {one.version, one.about.get("version")}
        ]


class Routable:
    """What traffic asks before a policy is changed.

    Args:
        registry: which versions there are, and in what state.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def __call__(self, model: str, versions: Collection[int]) -> Sequence[str]:
        """A sentence for each of these versions that is registered and may get no traffic; none for all others."""
        said = []
        for version in sorted(versions):
            try:
                state = (await self._registry.show(model, version)).standing.state
            except NotFound:
                continue
            if state not in _ROUTABLE:
                said.append(f"{model} version {version} is {state}, and only a verified version gets traffic.")
        return said


def usage(service: Knows, operations: Lists | None = None) -> Usage:
    """Who uses the versions of the registry, on this installation."""
    return Usage(service, operations)


def uses_in(policy: Policy, model: str, version: int) -> Sequence[str]:
    """What a policy does with that version, a sentence each."""
    share = policy.shares().get(version, 0)
    said = []
    if policy.stable == version:
        said.append(f"It is the stable version of {model}, with {format_share(share)} of the traffic.")
    elif share:
        said.append(f"It gets {format_share(share)} of the traffic of {model}.")
    if any(shadow.version == version for shadow in policy.shadows):
        said.append(f"It gets a shadow of the traffic of {model}.")
    if any(rule.version == version for rule in policy.rules):
        said.append(f"A rule of {model} sends requests to it.")
    return said
