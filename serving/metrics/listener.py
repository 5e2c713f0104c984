"""The listener that Prometheus reads: one path, behind the same door as the control API.

What the figures are is `serving.metrics.families`; here they are gathered when somebody asks, at most once a second
however many ask.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from drift.incidents import Incident
from serving.access.security_log import SecurityLog
from serving.access.table import METRICS
from serving.control.api.gate import Door, Gate, Table
from serving.control.api.headers import Hosts, OnlyHttp, SecurityHeaders
from serving.control.feedback_store import Heard
from serving.control.rolling.differences import shadows_of
from serving.control.rolling.kept import Over
from serving.control.rolling.records import Record
from serving.control.rolling.spreads import Figures as Rollbacks
from serving.control.rolling.spreads import Spread
from serving.control.views import Status
from serving.diffs import Diff
from serving.errors import SluiceError
from serving.metrics.families import render
from serving.metrics.figure import Facts
from serving.pair_totals import PairTotals
from serving.payloads.counts import Counts, read_counts

_KEPT_S: Final = 1.0
DOOR: Final = "metrics"
"""This listener's name in the security log."""


class HasStatus(Protocol):
    """Who knows how everything is (`serving.control.service`)."""

    @property
    def propagated(self) -> Spread:
        """How long policies set by hand took to reach every gateway."""

    async def status(self) -> Status:
        """Everything at a glance, even while the store is away."""


class HasRollouts(Protocol):
    """Who knows how rollouts go and went (`serving.control.rolling.service`)."""

    @property
    def propagated(self) -> Spread:
        """How long operators' commands took to reach every gateway."""

    def figures(self) -> Rollbacks:
        """How long rollbacks took, and what verdicts rest on."""

    async def active(self) -> Sequence[Record]:
        """Those in progress."""

    async def differences(self, rollout_id: str) -> tuple[Record, tuple[Diff, ...]]:
        """A rollout, and what was found of each of its candidates that got copies."""


class HasFeedback(Protocol):
    """Who knows what was said of requests (`serving.control.feedback`)."""

    async def heard(self) -> Heard:
        """All of it, at a glance."""


class HasEpisodes(Protocol):
    """Who knows what drifts (`serving.control.rolling.drift_episodes`)."""

    async def open(self) -> Sequence[Incident]:
        """What is not over."""


class HasDeliveries(Protocol):
    """Who knows of deliveries to webhooks (`serving.control.webhooks`)."""

    async def over(self) -> Over:
        """How many came to which end, since there is this store."""


class CountedLog(SecurityLog):
    """A security log that counts what it is told, beside writing it down.

    Args:
        path: of the log.
        door: whose it is, whatever it is told; empty for whom it is told.
    """

    def __init__(self, path: str, door: str = "") -> None:
        super().__init__(path)
        self._door = door
        self.counts: Counter[tuple[str, str]] = Counter()
        """By (door, kind)."""

    def refused(  # noqa: PLR0917 - as in the class that it extends
        self, door: str, address: str, kind: str, operation: str, key_id: str = "", now_s: float | None = None
    ) -> None:
        """Counts it and writes it down."""
        self.counts[self._door or door, kind] += 1
        super().refused(self._door or door, address, kind, operation, key_id, now_s)


class Figures:
    """What the listener says, kept for a second.

    Args:
        service: knows how everything is.
        logs: which refused attempts were counted.
        certificate: PEM file of the listeners' certificate; None without one.
        rollouts: knows how rollouts go and went; None for nobody.
        feedback: knows what was said of requests; None for nobody.
        payloads: the folder of the payload log; None without one.
        episodes: knows what drifts; None for nobody.
        webhooks: knows of deliveries; None for nobody.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        service: HasStatus,
        logs: Iterable[CountedLog] = (),
        certificate: Path | None = None,
        *,
        rollouts: HasRollouts | None = None,
        feedback: HasFeedback | None = None,
        payloads: Path | None = None,
        episodes: HasEpisodes | None = None,
        webhooks: HasDeliveries | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._rollouts = rollouts
        self._feedback = feedback
        self._payloads = payloads
        self._episodes = episodes
        self._webhooks = webhooks
        self._logs = tuple(logs)
        self._certificate = certificate
        self._clock = clock
        self._version = installed_version("sluice-gateway")
        self._lock = asyncio.Lock()
        self._text = b""
        self._good_until = -1.0
        self._ends_s: float | None = None

    async def text(self) -> bytes:
        """All figures, a second old at most."""
        async with self._lock:
            if self._clock() >= self._good_until:
                self._text = render(await self._facts())
                self._good_until = self._clock() + _KEPT_S
            return self._text

    async def _facts(self) -> Facts:
        refused: Counter[tuple[str, str]] = Counter()
        for log in self._logs:
            refused += log.counts
        # Files that are being replaced say nothing for a moment; what is shown to clients meanwhile is the one before.
        self._ends_s = ends_s(self._certificate) or self._ends_s
        rollbacks = Rollbacks() if self._rollouts is None else self._rollouts.figures()
        records = await self._records()
        return Facts(
            self._version,
            await self._service.status(),
            refused,
            self._ends_s,
            rollbacks,
            await self._heard(),
            records,
            await self._pairs(records),
            Counts() if self._payloads is None else await asyncio.to_thread(read_counts, self._payloads),
            self._propagated(rollbacks.stepped),
            await self._drifting(),
            await self._over(),
        )

    def _propagated(self, stepped: Spread) -> Mapping[str, Spread]:
        """How long changes took to reach every gateway, by what was changed."""
        policies = {"policy": self._service.propagated}
        if self._rollouts is None:
            return policies
        return {**policies, "rollout": self._rollouts.propagated, "step": stepped}

    async def _records(self) -> tuple[Record, ...]:
        """The rollouts in progress; none while the store is away."""
        if self._rollouts is not None:
            with suppress(SluiceError):
                return tuple(await self._rollouts.active())
        return ()

    async def _pairs(self, records: Iterable[Record]) -> tuple[PairTotals, ...]:
        """What was found in the answers to their copies, as far as it can be read."""
        found: list[PairTotals] = []
        for record in records:
            if self._rollouts is not None and shadows_of(record):
                with suppress(SluiceError):
                    _, diffs = await self._rollouts.differences(record.id)
                    found.extend(diff.totals for diff in diffs)
        return tuple(found)

    async def _drifting(self) -> tuple[Incident, ...]:
        """Episodes that are not over; none while the store is away."""
        if self._episodes is not None:
            with suppress(SluiceError):
                return tuple(await self._episodes.open())
        return ()

    async def _over(self) -> Over | None:
        """How deliveries to webhooks ended; None while the store is away."""
        if self._webhooks is not None:
            with suppress(SluiceError):
                return await self._webhooks.over()
        return None

    async def _heard(self) -> Heard:
        """What was said of requests; nothing while the store is away."""
        if self._feedback is not None:
            with suppress(SluiceError):
                return await self._feedback.heard()
        return Heard()


def ends_s(certificate: Path | None) -> float | None:
    """When the first certificate of a PEM file ends, seconds since 1970; None where there is none that can be read."""
    if certificate is None:
        return None
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None


def routes_of(figures: Figures) -> list[Route]:
    """The one path, which answers with the figures."""

    async def answer(_: Request) -> Response:
        return Response(await figures.text(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/metrics", answer, methods=["GET"])]


def create_metrics_app(figures: Figures, door: Door) -> ASGIApp:
    """The application.

    Args:
        figures: what it says.
        door: who may read it.
    """
    routes = routes_of(figures)
    inner = Starlette(routes=routes)
    inner.router.redirect_slashes = False
    stack: ASGIApp = Gate(inner, door, routes, Table(METRICS))
    if not door.doorman.required:  # a page whose name was made to point here must not read it on somebody's own machine
        stack = Hosts(stack, door.hosts, door.log)
    return OnlyHttp(SecurityHeaders(stack), inner)
