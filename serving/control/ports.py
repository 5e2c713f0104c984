"""What the control room needs of others: where things are kept, where pools run, and who knows what may get traffic."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from router.policy import Policy
from serving.control.publishing import Published, Recorded, State
from serving.control.wishes import ModelVersion, Wish, WishStore
from serving.endpoint import Crash, Endpoint, Load
from serving.leases import Applied, GatewayLease, IdKeys
from serving.pools import PoolKey, PoolSpec, PoolState, Tried


class Policies(Protocol):
    """Where policies are kept and become the next epoch."""

    async def state(self) -> State:
        """The head and its snapshot."""

    async def policy(self, digest: str) -> Policy:
        """The policy of that digest."""

    async def change(
        self,
        model: str,
        policy: Policy,
        expected_revision: int | None,
        *,
        who: str,
        why: str = "",
        grows: bool = False,
        insists: bool = False,
    ) -> Published:
        """The model's next policy, once it is published."""


class Leases(Protocol):
    """Who is alive."""

    async def gateways(self) -> Sequence[GatewayLease]:
        """The gateways."""

    async def applied(self, ids: Collection[str] | None = None) -> Mapping[str, Applied]:
        """What these gateways go by, or all of them, by id; without those whose lease is not alive."""

    async def gateways_with_figures(self) -> Sequence[GatewayLease]:
        """The same with what they say for people, which is much."""

    async def with_figures(self, leases: Sequence[GatewayLease]) -> Sequence[GatewayLease]:
        """These leases with what their gateways say for people by now."""

    async def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints."""

    async def endpoint_loads(self) -> Sequence[tuple[Endpoint, Load]]:
        """The same, each with what its replica says of its server."""

    async def hold(self, endpoint: Endpoint, ttl_s: float) -> None:
        """Takes or renews an endpoint's lease."""

    async def drop(self, endpoint: Endpoint) -> None:
        """Gives an endpoint's lease back."""


class Records(Protocol):
    """What else a store keeps, and how it is."""

    async def ledger(self, limit: int, before: str = "") -> Sequence[Recorded]:
        """The newest entries, newest first; of those before that id, where one is given."""

    async def ledger_after(self, after: str, limit: int) -> Sequence[Recorded]:
        """The oldest entries after that id, oldest first."""

    async def entries_of(self, rollout_id: str) -> Sequence[str]:
        """Ids of the entries about that rollout, oldest first."""

    async def entries_at(self, ids: Collection[str]) -> Mapping[str, Recorded]:
        """Those of these entries that are there."""

    async def id_keys(self) -> IdKeys | None:
        """The keys of request ids."""

    async def ensure_keys(self) -> IdKeys:
        """The same; the first one is made if there is none."""

    async def wishes(self) -> Sequence[Wish]:
        """What operators want to run."""

    async def check(self) -> tuple[str, ...]:
        """One sentence for each thing about the server that could cost data."""


class Store(Policies, Leases, Records, Protocol):
    """All that the control room needs of a store."""


class Pools(Protocol):
    """Where pools run (Ray Serve)."""

    async def deploy(self, pools: Sequence[tuple[PoolSpec, int]]) -> None:
        """Starts these together, each with so many replicas, or scales them in place; does not wait for them."""

    async def states(self) -> Mapping[PoolKey, PoolState]:
        """Those that are there."""

    async def remove(self, pools: Sequence[PoolKey]) -> None:
        """Drains these and returns when they are gone; those that are not there are gone."""

    async def try_out(self, spec: PoolSpec, tell: Callable[[str], None]) -> Tried:
        """Starts a server of this for a trial, which nobody is sent to, and ends it."""


class PoolStore(Store, WishStore, Protocol):
    """What the keeper needs of a store."""

    async def crashes_of(self, versions: Sequence[ModelVersion]) -> Mapping[ModelVersion, Sequence[Crash]]:
        """How servers of these versions died in the last hour, newest first."""

    async def now_ms(self) -> int:
        """The store's time."""

    async def forget_touched(self, versions: Sequence[ModelVersion]) -> None:
        """Nobody will ask after these versions again."""


class Routable(Protocol):
    """Who knows which versions must not get traffic (the registry)."""

    async def __call__(self, model: str, versions: Collection[int], /) -> Sequence[str]:
        """A sentence for each of these versions that must not."""


async def all_routable(_model: str, _versions: Collection[int], /) -> Sequence[str]:
    """For an installation without a registry."""
    return ()
