"""The long work on pools: deploy, promote, remove. Each is run from its beginning as often as it takes.

None of them starts or ends a server. They write what is wanted, which the keeper brings about, and wait until it is so;
whoever dies in between leaves a wish that says who wanted it and what was there before. How each is done is
`serving.control.starts`, `flips` and `removals`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from serving.control.asked import Asked, Library
from serving.control.flips import Flips
from serving.control.operations import Performer
from serving.control.ports import Pools, PoolStore
from serving.control.removals import Removals
from serving.control.service import ControlService
from serving.control.standing import Standing
from serving.control.starts import Starts
from serving.pools import PoolSpec


class Deployments:
    """Deploys, promotes and removes, for one installation.

    Args:
        service: publishes policies, and says what cannot be started.
        store: where wishes are kept.
        pools: where pools run; looked at, and asked to take away what has failed.
        library: where registered versions are.
        declared: the pools that the settings declare.
        patience_s: how long the replicas of a version may take to get ready.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        service: ControlService,
        store: PoolStore,
        pools: Pools,
        library: Library,
        declared: Sequence[PoolSpec],
        *,
        patience_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        known = {spec.key: spec for spec in declared}
        asked = Asked(store, library, known, service.source_of)
        standing = Standing(service, store, pools, known, clock=clock)
        self._starts = Starts(standing, asked, patience_s=patience_s)
        self._removals = Removals(standing, asked)
        self._flips = Flips(standing, asked, self._starts, self._removals)

    def performers(self) -> Mapping[str, Performer]:
        """By kind of operation."""
        starts, flips, removals = self._starts, self._flips, self._removals
        return {
            "deploy": Performer(starts.deploy, starts.check_deploy, starts.take_back),
            "promote": Performer(flips.promote, flips.check_promote, starts.take_back),
            "remove": Performer(removals.remove, removals.check_remove, removals.withdraw),
        }
