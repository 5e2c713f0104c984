"""What operators' commands and the loop need of others: where rollouts are kept, what may get traffic."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from router.policy import Policy
from router.rollout import Evidence
from serving.control.publication import State
from serving.control.rates import Lately
from serving.control.rolling.judged import Judged
from serving.control.rolling.judging import Judges
from serving.control.rolling.kept import Look, Stop
from serving.control.rolling.moving import Writes
from serving.control.rolling.records import Record
from serving.control.rolling.spreads import Figures
from serving.control.views import Current
from serving.control.wishes import ModelVersion
from serving.endpoint import Endpoint
from serving.leases import GatewayLease


class Keeps(Writes, Protocol):
    """What operators' commands need of a store."""

    async def look(self) -> Look:
        """The time, the rollouts in progress, and what is stopped."""

    async def rollout(self, rollout_id: str) -> Record | None:
        """The rollout of that id."""

    async def rollouts(self, model: str | None, limit: int) -> Sequence[Record]:
        """The newest, newest first."""

    async def stopped(self) -> Mapping[str, Stop]:
        """What is stopped."""

    async def policies(self, digests: Collection[str]) -> Mapping[str, Policy]:
        """Those of these policies that can be read, by digest."""

    async def now_ms(self) -> int:
        """The time, milliseconds since 1970."""

    async def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints whose lease is alive."""

    async def counts(self, rollout_id: str) -> str | None:
        """What was kept of that rollout's counts."""

    async def case(self, rollout_id: str) -> str | None:
        """What was kept of that rollout's case."""

    async def blocks(self, rollout_id: str, begin: int, limit: int) -> Sequence[str]:
        """Blocks of that rollout, oldest first, from that place on."""

    async def diffs(self, model: str, candidate: int, salt: str) -> Sequence[bytes]:
        """What each gateway's keeper left of that candidate's pairs."""

    async def barred(self, model: str) -> Mapping[int, str]:
        """The versions of that model that went back, by the rollout that they went back with."""

    async def feedback_in(self, scope: str) -> Mapping[str, int]:
        """What feedback about a rollout's attempt adds up to."""


class Allows(Protocol):
    """Who knows what may get traffic (`serving.control.traffic`)."""

    async def current_in(self, state: State, model: str) -> Current | None:
        """What the model runs."""

    async def refuse_unknown_model(self, state: State, model: str) -> None:
        """Says which models there are, where this is none of them."""

    async def refuse_unknown_versions(self, state: State, model: str, versions: Collection[int]) -> None:
        """Says which versions there are, where one of these is none of them."""

    async def obstacles(self, model: str, before: Policy, after: Policy, *, force: bool = False) -> tuple[str, ...]:
        """What keeps a rollout from taking its model from one policy to the other."""

    def lately(self, model: str) -> Mapping[int, Lately]:
        """How its versions answered within the last few seconds."""

    async def carried(self, model: str, before: Policy, after: Policy) -> Mapping[int, int] | None:
        """The arms that would get more than they carry, by what they carry, where the policy cuts them down to it."""

    def giving(self, model: str, before: Policy, after: Policy) -> AbstractAsyncContextManager[None]:
        """Within it, no version that `after` newly gives traffic to begins to be drained."""


class Watches(Writes, Judges, Protocol):
    """What the walker needs of a store."""

    async def gateways(self) -> Sequence[GatewayLease]:
        """The gateways whose lease is alive."""

    async def look(self) -> Look:
        """The time, the rollouts in progress, and what is stopped."""

    async def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints whose lease is alive."""

    async def counts(self, rollout_id: str) -> str | None:
        """What was kept of that rollout's counts."""

    async def keep_counts(self, rollout_id: str, said: str, fence: int) -> None:
        """Keeps them, for the conductor of that fence."""

    async def watched_s(self) -> float | None:
        """Until when a conductor has watched."""

    async def keep_watched(self, now_s: float, fence: int) -> None:
        """The conductor of that fence has watched until then."""


class Gives(Protocol):
    """Who knows what may get traffic (`serving.control.traffic`)."""

    async def obstacles(self, model: str, before: Policy, after: Policy) -> tuple[str, ...]:
        """What keeps a rollout from taking its model from one policy to the other, in sentences."""

    async def carried(
        self, model: str, before: Policy, after: Policy, *, surely: bool = False
    ) -> Mapping[int, int] | None:
        """The arms that would get more than they carry, by what they carry, where the policy cuts them down to it.

        Asked `surely`, None where that is not known of an arm that would get more.
        """

    def keep(self, versions: Iterable[ModelVersion], floored: Iterable[ModelVersion]) -> None:
        """These have to be up, and of these none may lose a replica, for as long as nothing else is said."""

    def giving(self, model: str, before: Policy, after: Policy) -> AbstractAsyncContextManager[None]:
        """Within it, no version that `after` newly gives traffic to begins to be drained."""


class Walks(Protocol):
    """What the loop knows, where it runs in this process."""

    def closed(self, rollout_id: str) -> tuple[str, ...]:
        """What kept that rollout from going on at the last tick, beside its plan."""

    def evidence(self, rollout_id: str) -> Evidence | None:
        """What was last known of that rollout."""

    def judged(self, rollout_id: str) -> Judged | None:
        """The cases of its candidates."""

    def figures(self) -> Figures:
        """What people are shown of all of them."""


class NoWalks:
    """Nothing is known: the loop runs elsewhere."""

    def closed(self, rollout_id: str) -> tuple[str, ...]:
        """Nothing."""
        del rollout_id
        return ()

    def evidence(self, rollout_id: str) -> Evidence | None:  # noqa: ARG002 - as the port has it
        """Nothing."""
        return None

    def judged(self, rollout_id: str) -> Judged | None:  # noqa: ARG002 - as the port has it
        """Nothing."""
        return None

    def figures(self) -> Figures:
        """Nothing."""
        return Figures()
