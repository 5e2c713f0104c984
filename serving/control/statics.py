"""Endpoints that somebody else runs: asked at each look, leased for as long as they answer, told when they do not.

Each is asked beside the others, so that one Triton that hangs makes nobody else's lease lapse.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from serving.control.tasks import end
from serving.endpoint import Endpoint
from serving.settings import ModelSettings

_log = logging.getLogger(__name__)

Probe = Callable[[Endpoint], Awaitable[bool]]


class Holds(Protocol):
    """Where leases are held."""

    async def hold(self, endpoint: Endpoint, ttl_s: float) -> None:
        """Takes or renews an endpoint's lease."""


class StaticKeeper:
    """Keeps the leases of the static endpoints of one installation.

    Args:
        store: where leases are held.
        endpoints: all of them; a version may have several, and a Triton several versions.
        probe: whether one answers.
        lease_s: how long a lease lives.
        look_s: how long one look waits for answers; those that take longer are not asked twice meanwhile.
    """

    def __init__(
        self, store: Holds, endpoints: Iterable[Endpoint], probe: Probe, *, lease_s: float, look_s: float
    ) -> None:
        self._store = store
        self._endpoints = tuple(endpoints)
        self._probe = probe
        self._lease_s = lease_s
        self._look_s = look_s
        self._asked: dict[Endpoint, asyncio.Task[bool]] = {}
        self._answers: dict[Endpoint, bool] = {}

    @property
    def silent(self) -> tuple[Endpoint, ...]:
        """Those that did not answer when they were last asked."""
        return tuple(endpoint for endpoint in self._endpoints if not self._answers.get(endpoint, True))

    async def renew(self) -> None:
        """Asks all of them, and renews the leases of those that answer.

        Raises:
            StoreUnavailable: a lease could not be renewed.
        """
        for endpoint in self._endpoints:
            if endpoint not in self._asked:
                self._asked[endpoint] = asyncio.create_task(self._answered(endpoint))
        if not self._asked:
            return
        done, _ = await asyncio.wait(self._asked.values(), timeout=self._look_s)
        failed: BaseException | None = None
        for endpoint, task in list(self._asked.items()):
            if task in done:
                del self._asked[endpoint]
                failed = failed or task.exception()
                if task.exception() is None:
                    self._tell(endpoint, answers=task.result())
        if failed is not None:
            raise failed

    async def close(self) -> None:
        """Asks no more."""
        await end(list(self._asked.values()))

    async def _answered(self, endpoint: Endpoint) -> bool:
        answers = await self._probe(endpoint)
        if answers:
            await self._store.hold(endpoint, self._lease_s)
        return answers

    def _tell(self, endpoint: Endpoint, *, answers: bool) -> None:
        if self._answers.get(endpoint, True) != answers:
            _log.warning("the static endpoint %s %s", endpoint.key, "answers again" if answers else "does not answer")
        self._answers[endpoint] = answers


def static_endpoints(models: Iterable[ModelSettings]) -> list[Endpoint]:
    """The endpoints that the settings declare, and that somebody else runs."""
    return [
        Endpoint(place.host, place.port, place.grpc_port, model.name, one.version, tls=place.tls)
        for model in models
        for one in model.versions
        for place in one.endpoints
    ]
