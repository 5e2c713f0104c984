"""One gateway worker: what its connections share, its clock, and how it begins and ends.

Runs on one loop in one thread; everything here is a plain attribute that callbacks read and add to. Where routings
come from is `policies`' business, what a request becomes is the exchange's.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router.request_id import SECRET_BYTES, Key
from serving.access.security_log import SecurityLog
from serving.access.verifier import Verifier
from serving.errors import Refusal
from serving.gateway.admission import Admission
from serving.gateway.capture import Capture
from serving.gateway.config import WorkerConfig
from serving.gateway.dispatch import Standing
from serving.gateway.door import Door, Encryption, Shares
from serving.gateway.failover import Budget, Quarantine
from serving.gateway.fetch import AT_ONCE, is_ready
from serving.gateway.grpc.port import Port
from serving.gateway.health import Health
from serving.gateway.http import ClientConnection
from serving.gateway.limits import Meters
from serving.gateway.notes import Journal
from serving.gateway.pauses import Pauses
from serving.gateway.remembered import Remembered
from serving.gateway.request import Bad
from serving.gateway.routing import NOWHERE, Routing, Table, VersionRoute
from serving.gateway.shelf import Pace, Shelf
from serving.gateway.upstream import AnswerHead, Trust, Upstream
from serving.tls import HTTP_1, HTTP_2, ServerCertificate, client_context
from serving.totals import Braked

if TYPE_CHECKING:
    from serving.endpoint import Endpoint
    from serving.gateway.attempts import Attempts
    from serving.gateway.request import RequestHead
    from serving.gateway.shadow import Copy

_log = logging.getLogger(__name__)
_TICK_S = 0.05
_SWEEP_EVERY = 20
_LAST_WORD_S = 1.0
_MOST_BRAKED = 100
_LEAVING = Bad(Refusal.OVERLOADED, "The gateway is being stopped, and has waited as long as it may: ask again.")


class Worker:
    """What the connections of one process share."""

    def __init__(self, config: WorkerConfig, loop: asyncio.AbstractEventLoop) -> None:
        self.config = config
        self.loop = loop
        self.table = Table(
            self._dial, lambda: Budget(config.repeat_budget, loop.time()), config.brake_s, deals=config.deals
        )
        self.braked: deque[Braked] = deque(maxlen=_MOST_BRAKED)
        """Versions that were braked, for the message that tells of them."""
        self.routing: Routing = NOWHERE
        self.key = Key(0, random.SystemRandom().randbytes(SECRET_BYTES))
        """Mints request ids: a key of its own until the store's are known."""
        self.clients: set[ClientConnection] = set()
        self.in_flight: set[Attempts[Any]] = set()
        self.shadows: set[Copy] = set()
        self.capture = Capture(config, self.table, loop) if config.keeper_socket else None
        """Hands requests and answers to the keeper; None where there is none."""
        self.shelf = Shelf()
        """What copies keep."""
        self.pace = Pace(config.copy_read_per_s)
        """How fast their answers are read."""
        self.heads: Remembered[RequestHead] = Remembered()
        self._answer_heads: Remembered[AnswerHead] = Remembered()
        self.questions = asyncio.Semaphore(AT_ONCE)
        self.quarantine = Quarantine(config.quarantine_s)
        self.admission = Admission(
            SecurityLog(config.security_log), required=config.access_required,
            verifier=None if config.redis_url else Verifier(()),
        )  # fmt: skip
        self.meters = Meters()
        self.pauses = Pauses(loop)
        self.draining = False
        """Answers say `Connection: close`."""
        self.closes_idle = False
        self.wall_s = time.time()
        """Seconds since 1970, as of the last tick."""
        self.now_s = int(self.wall_s)
        self._version = version_of("sluice-gateway")
        self._leaving = False
        self.standing = Standing(NOWHERE, False, self._version)
        draw = random.Random(random.SystemRandom().getrandbits(128))  # noqa: S311 (a draw, no secret)
        self.nonce = partial(draw.getrandbits, 64)
        """64 random bits: a request's own number, and its unit where it names none."""
        capture = self.capture
        self.journal = None if capture is None else Journal(config, loop.time, self.nonce, capture.tell)
        """Tells the keeper of requests that failed; None where there is none."""
        self.notes = self.journal if self.journal is not None and self.journal.takes_notes else None
        """The same, where requests may be traced or stand in the access log."""
        self._ticks = 0
        self._certificates = {speaks: _certificate(config, speaks) for speaks in (HTTP_1, HTTP_2)}
        self._trusted = _trust(config) if config.triton_ca_file else None
        self.grpc = Port(self)
        self._door: Door | None = None
        self._shares: tuple[Shares, int] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # What connections ask of it.

    def add_client(self, client: ClientConnection) -> None:
        """Counts a connection in, or turns it away where there are too many."""
        self.clients.add(client)
        self._tell_share()
        if len(self.clients) > self.config.max_connections:
            client.turn_away(f"The gateway has {self.config.max_connections} connections, its limit: try again.")

    def drop_client(self, client: ClientConnection) -> None:
        """Counts a connection out."""
        self.clients.discard(client)
        self._tell_share()

    def route_now(self, route: VersionRoute) -> VersionRoute | None:
        """The same version's route as it is now."""
        model = self.routing.models.get(route.model)
        return None if model is None else model.versions.get(route.version)

    def blame(self, upstream: Upstream, *, at_once: bool = False) -> None:
        """A replica failed by its own fault; one that does so too often is left alone for a while."""
        if upstream.health.failed(self.loop.time(), at_once=at_once):
            where = f"{upstream.model}/{upstream.version} at {upstream.host}:{upstream.port}"
            _log.warning("%s is left alone for %g s: it keeps failing", where, self.config.ejection_s)

    def blame_version(self, route: VersionRoute, *, spent: bool) -> None:
        """A candidate failed by its own fault: one that does so again and again is braked.

        Args:
            route: its.
            spent: whether what may be sent twice is nearly used up, which needs no further proof.
        """
        if route.state.brake.failed(self.loop.time()):
            self._tell_braked(route)
        elif spent:
            self.brake(route)

    def brake(self, route: VersionRoute) -> None:
        """Stable answers in this version's place for a while."""
        if route.state.brake.put_on(self.loop.time()):
            self._tell_braked(route)

    def _tell_braked(self, route: VersionRoute) -> None:
        rest_s = self.config.brake_s
        _log.warning("%s/%d is braked for %g s: stable answers", route.model, route.version, rest_s)
        self.braked.append(Braked(route.model, route.version, time.time(), rest_s))

    # What the policies' follower asks of it.

    def swap(self, routing: Routing) -> None:
        """From here on new requests go by this routing."""
        self.routing = routing
        if self.capture is not None:
            self.capture.goes_by(routing)
        self._restate()

    def let_in(self, verifier: Verifier, key_ids: Collection[str]) -> None:
        """From here on these are asked for: what tells who shows a header, and the ids of the keys that are good."""
        self.admission.use(verifier)
        self.meters.keep(key_ids)

    def _dial(self, endpoint: Endpoint) -> Upstream:
        config = self.config
        health = Health(config.ejection_s)
        tls = self._trust() if endpoint.tls else None
        upstream = Upstream(endpoint, self.loop, config.connect_timeout_s, health, self._answer_heads, tls=tls)
        self.run(upstream.warm_up())
        if upstream.lines is not None:
            self.run(upstream.lines.warm_up())
        return upstream

    def _trust(self) -> Trust:
        """What encrypted replicas are checked with; whom the system trusts is read only where there is one."""
        if self._trusted is None:
            self._trusted = _trust(self.config)
        return self._trusted

    def run(self, work: Coroutine[None, None, None]) -> None:
        """Does this beside all else."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _restate(self) -> None:
        self.standing = Standing(self.routing, self.routing is not NOWHERE and not self._leaving, self._version)
        self.grpc.standing_changed()

    # Its life.

    def listen(
        self,
        listener: socket.socket,
        shares: tuple[Shares, int] | None = None,
        *,
        grpc: socket.socket | None = None,
        grpc_shares: tuple[Shares, int] | None = None,
    ) -> None:
        """Serves on sockets that are bound already.

        Args:
            listener: maybe shared with other workers.
            shares: what they all hold, and this worker's slot in it.
            grpc: the same for gRPC; None where that is not served.
            grpc_shares: of its connections.
        """
        self._shares = shares
        self._tell_share()
        self._door = Door(listener, lambda: ClientConnection(self), self._may_take, self._encryption(HTTP_1))
        self._door.open()
        if grpc is not None:
            self.grpc.listen(grpc, grpc_shares, self._encryption(HTTP_2))
        self.loop.call_later(_TICK_S, self._tick)
        if self.capture is not None:
            self.run(self.capture.run())
        self._renew_certificate()
        gc.collect()
        gc.freeze()  # what stands now stands for good: the collector need not look at it again

    def stop_listening(self) -> None:
        """Takes no more connections."""
        self.grpc.stop_listening()
        if self._door is not None:
            self._door.close()
        if self._shares is not None:
            shares, slot = self._shares
            shares.leave(slot)
            self._shares = None

    def _encryption(self, speaks: str) -> Encryption | None:
        config, certificate = self.config, self._certificates[speaks]
        if certificate is None:
            return None
        return Encryption(
            certificate.context, config.header_timeout_s, config.upstream_timeout_s, config.max_connections
        )

    def _renew_certificate(self) -> None:
        if self.config.tls_certificate:
            self.loop.call_later(self.config.tls_reload_s, self._renew_certificate)
            for certificate in filter(None, self._certificates.values()):
                certificate.renew()

    def _may_take(self) -> bool:
        return self._shares is None or self._shares[0].may_take(self._shares[1])

    def _tell_share(self) -> None:
        if self._shares is not None:
            self._shares[0].put(self._shares[1], len(self.clients))

    async def drain(self) -> None:
        """Ends without failing a request: not ready first, no new connections next, idle connections last."""
        config = self.config
        self._leaving = True
        self._restate()
        await asyncio.sleep(config.drain_delay_s)
        self.draining = True
        self.stop_listening()
        self.grpc.drain()
        give_up = self.loop.time() + config.drain_limit_s
        await self._until(lambda: not self.in_flight, give_up)
        if self.in_flight:
            for request in list(self.in_flight):
                request.refuse(_LEAVING)
            give_up = self.loop.time() + _LAST_WORD_S
        # A request may be on its way on any idle connection: each gets a moment to carry it.
        await self._until(lambda: not self.clients, min(self.loop.time() + _LAST_WORD_S, give_up))
        self.closes_idle = True
        for copy in list(self.shadows):
            copy.abandon()
        if self.capture is not None:
            await self.capture.leave(_LAST_WORD_S)
        for client in list(self.clients):
            client.close_idle()
        self.grpc.close_idle()
        await self._until(lambda: not (self.clients or self.grpc.lines), give_up)

    async def _until(self, done: Callable[[], bool], deadline: float) -> None:
        while not done() and self.loop.time() < deadline:  # noqa: ASYNC110 (an event would cost every request)
            await asyncio.sleep(_TICK_S)

    def status(self) -> dict[str, object]:
        """How it stands, for the supervisor and for the lease."""
        return {
            "worker": self.config.worker,
            "epoch": self.routing.head.epoch,
            "digest": self.routing.head.digest,
            "ready": self.standing.ready,
            "connections": len(self.clients),
            "grpc_connections": len(self.grpc.lines),
            "in_flight": len(self.in_flight),
            "requests": self.table.totals(),
        }

    def report(self) -> Mapping[str, object]:
        """Everything that was counted, by version and by series (model, version, role, replica)."""
        now = self.loop.time()
        versions = [
            {
                "model": model, "version": version, "requests": state.requests, "failed": state.failed,
                "straight": state.straight, "shed": state.shed, "braked": state.brake.until > now,
                "synthetic": state.synthetic, "copies": state.ration.in_flight,
                "dropped": {why.value: count for why, count in state.ration.dropped.items()},
            }
            for (model, version), state in self.table.states.items()
        ]  # fmt: skip
        series = [
            {
                "model": model, "version": version, "role": role.name.lower(),
                "replica": None if upstream is None else f"{upstream.host}:{upstream.port}",
                "ejected": upstream is not None and upstream.ejected, **counted.as_dict(),
            }
            for upstream, model, version, role, counted in self.table.series()
        ]  # fmt: skip
        not_captured = {} if self.capture is None else dict(self.capture.dropped)
        return {
            "versions": versions, "series": series, "limits": self.meters.report(), "not_captured": not_captured,
            "notes_lost": self.notes_lost(),
        }  # fmt: skip

    def notes_lost(self) -> dict[str, int]:
        """Of what was to be traced or told in logs, what was not, by "what_why"."""
        capture, journal = self.capture, self.journal
        return {} if capture is None or journal is None else dict(capture.lost + journal.lost)

    # Its clock.

    def _tick(self) -> None:
        self.loop.call_later(_TICK_S, self._tick)  # first, so that nothing below can stop the clock
        now = self.loop.time()
        self.pauses.tick(now)
        self.wall_s = time.time()
        self.now_s = int(self.wall_s)
        for exchange in [exchange for exchange in self.in_flight if exchange.deadline < now]:
            exchange.on_deadline()
        for copy in [copy for copy in self.shadows if copy.deadline < now]:
            copy.on_deadline()
        self._ticks += 1
        if self._ticks % _SWEEP_EVERY == 0:
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        config = self.config
        for client in [client for client in self.clients if client.overdue(now, config)]:
            client.time_out()
        for client in [client for client in self.clients if client.half_closed]:
            client.probe()
        self.grpc.sweep(now)
        for upstream in self.table.upstreams:
            upstream.close_idle_since(now - config.upstream_idle_timeout_s)
            if upstream.lines is not None:
                upstream.lines.sweep(now, now - config.upstream_idle_timeout_s)
            if upstream.health.may_return(now):
                self.run(self._probe(upstream))
        self.table.fold_gone()
        self.quarantine.forget(now)

    async def _probe(self, upstream: Upstream) -> None:
        if await is_ready(upstream, self.config.connect_timeout_s) and upstream.ejected:
            upstream.health.readmit()
            _log.info("%s/%d at %s:%d is well again", upstream.model, upstream.version, upstream.host, upstream.port)


def _trust(config: WorkerConfig) -> Trust:
    file = config.triton_ca_file or None
    return Trust(client_context(file, speaks=HTTP_1), client_context(file, speaks=HTTP_2))


def _certificate(config: WorkerConfig, speaks: str) -> ServerCertificate | None:
    if not config.tls_certificate:
        return None
    files = Path(config.tls_certificate), Path(config.tls_key)
    return ServerCertificate(*files, min_version=config.tls_min_version, speaks=speaks)
