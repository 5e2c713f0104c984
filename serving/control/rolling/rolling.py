"""Everything about rollouts in one control room, put together: what operators ask, and what runs by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

from drift.settings import DriftSettings
from serving.control.rolling.archive import Archive, Ledgers
from serving.control.rolling.drift_episodes import Episodes
from serving.control.rolling.drift_episodes import Keeps as KeepsEpisodes
from serving.control.rolling.drift_findings import FindingsHeard, Reads
from serving.control.rolling.drift_incidents import Incidents
from serving.control.rolling.drift_incidents import Reads as ReadsIncidents
from serving.control.rolling.gates import Gatekeeper
from serving.control.rolling.hooks import PAUSES_S, Courier, Queue
from serving.control.rolling.leading import LEASE_S, Leadership, Leases
from serving.control.rolling.loops import RolloutLoops
from serving.control.rolling.ports import Keeps, Watches
from serving.control.rolling.remembering import Remembering, Remembers
from serving.control.rolling.sending import Sender, Sends
from serving.control.rolling.service import Rollouts
from serving.control.rolling.standing import StandingHooks
from serving.control.rolling.walker import Walker
from serving.control.traffic import Traffic


class RollingStore(
    Keeps, Watches, Queue, Leases, Ledgers, Remembers, Reads, ReadsIncidents, KeepsEpisodes, Protocol
):  # fmt: skip
    """All that rollouts need of a store."""


class Rolling:
    """Rollouts in one control room.

    Args:
        store: where they are kept.
        traffic: what may get traffic.
        folder: of the ledger's archive, and of what must not be forgotten; None for none, and then the ledger is never
            shortened.
        namespace: of Redis, whose memory is kept there.
        trusted: origins of gates and hooks that the settings name.
        sends: who reaches them; None for the network.
        lease_s: how long the lead lasts without being renewed, and how long leases of gateways do.
        clock: seconds that only go forward, by which the walk measures the store's clock.
        hooks: of the settings, which hear of drift.
        pauses_s: between attempts at a delivery, at most, seconds.
        drift: of the settings.
    """

    def __init__(
        self,
        store: RollingStore,
        traffic: Traffic,
        *,
        folder: Path | None = None,
        namespace: str = "",
        trusted: Collection[str] = (),
        sends: Sends | None = None,
        lease_s: float = LEASE_S,
        clock: Callable[[], float] = time.monotonic,
        hooks: StandingHooks | None = None,
        pauses_s: Sequence[float] = PAUSES_S,
        drift: DriftSettings | None = None,
    ) -> None:
        hooks = StandingHooks() if hooks is None else hooks
        to_standing, sends = sends or Sender(hooks.urls), sends or Sender(trusted)
        gates = Gatekeeper(sends)
        self.walker = Walker(store, traffic, gates, unwatched_s=2 * lease_s, settle_s=lease_s, clock=clock)
        self.rollouts = Rollouts(store, traffic, sends, walks=self.walker)
        incidents = Incidents(store, hooks, drift or DriftSettings(), self.walker)
        self.episodes = Episodes(store, incidents, hooks, traffic)
        self.loops = RolloutLoops(
            Leadership(store, ttl_s=lease_s),
            self.walker,
            gates,
            Courier(store, sends, standing=hooks, standing_sends=to_standing, pauses_s=pauses_s),
            ledger=store,
            archive=None if folder is None else Archive(folder),
            remembering=None if folder is None else Remembering(store, folder, namespace),
            findings=FindingsHeard(store, self.rollouts, hooks, incidents),
            incidents=incidents,
        )
