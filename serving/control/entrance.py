"""What stands before the control room: who is let in, what encrypts it, and the two listeners, API and metrics.

Made from the settings in one place, so that both listeners ask the same doorman and show the same certificate. What
they answer is the API's and the metrics' business; that all of it goes on running is its owner's, who gets tasks.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import Protocol

import uvicorn
from starlette.types import ASGIApp

from serving.access.keys import KeyRecord
from serving.control.api.app import create_app
from serving.control.api.desk import Desk
from serving.control.api.encrypted import server_of
from serving.control.api.gate import Door
from serving.control.api.workshop import Workshop
from serving.control.conductor import Duty
from serving.control.doorman import Credentials, Doorman
from serving.control.keys import KeyService, KeyStore, rotate_when_due
from serving.control.service import ControlService
from serving.control.signing_keys import Issuer, SigningKeys
from serving.control.signing_keys import Store as SigningKeyStore
from serving.errors import SluiceError
from serving.letting_in import token_rules
from serving.metrics.listener import DOOR, CountedLog, Figures, create_metrics_app
from serving.outgoing import Outgoing
from serving.settings import Settings
from serving.tls import ServerCertificate

_log = logging.getLogger(__name__)
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - no name by which anybody is reached


class AccessStore(Credentials, KeyStore, SigningKeyStore, Protocol):
    """Where everything about access is kept (`serving.control.store`)."""

    async def now_ms(self) -> int:
        """The store's time, milliseconds since 1970."""


class Entrance:
    """The doors of one control room.

    Args:
        settings: of the installation.
        store: where keys are kept.
        own: keys of the installation itself (`serving.own_keys`).

    Raises:
        StartFailed: the certificate cannot be used.
    """

    def __init__(self, settings: Settings, store: AccessStore, own: Sequence[KeyRecord] = ()) -> None:
        access, rules = settings.access, token_rules(settings)
        self._settings = settings
        self._store = store
        self._certificate = certificate_of(settings)
        self._doorman = Doorman(store, rules, required=access.required, own=own)
        named = {settings.control.host, settings.metrics.host, *settings.control.allowed_hosts}
        self._hosts = frozenset(named - _EVERY_ADDRESS)
        self._logs = CountedLog(str(settings.security_log)), CountedLog(str(settings.security_log), DOOR)
        self._keys = KeyService(store, required=access.required, tokens=rules is not None)
        self._servers: list[uvicorn.Server] = []
        self._serving: list[asyncio.Task[None]] = []
        self._beside: list[asyncio.Task[None]] = []

    @property
    def duties(self) -> tuple[tuple[str, Duty], ...]:
        """What the conductor has to do for them once a tick."""
        rotating: tuple[str, Duty] = ("replacing the key of request ids", self._rotate)
        tokens = self._settings.access.tokens
        if tokens is None:
            return (rotating,)
        issuer = Issuer(tokens.issuer, tokens.jwks_url, tokens.algorithms, tokens.refresh_s)
        return rotating, ("keeping the keys of tokens", SigningKeys(issuer, self._store, Outgoing()).keep)

    @property
    def tasks(self) -> Sequence[asyncio.Task[None]]:
        """What has to run for as long as the room is open: where one has ended, the room is no good."""
        return (*self._serving, *self._beside)

    async def open(
        self,
        service: ControlService,
        workshop: Workshop | None,
        control: socket.socket,
        metrics: socket.socket | None,
        *,
        desk: Desk | None = None,
    ) -> None:
        """Serves from here on. The store is looked at once before, so that nobody is turned away for want of a look.

        Args:
            service: what the API is about.
            workshop: likewise; None for an API without a registry.
            control: the API's listening socket.
            metrics: that of the metrics; None where there are none.
            desk: rollouts; None for an API without them.
        """
        try:
            await self._doorman.look()
        except SluiceError as error:
            _log.warning("Keys cannot be read yet: %s", error)
        app = create_app(service, workshop, self._door(self._logs[0]), key_service=self._keys, desk=desk)
        self._serve(app, control)
        if metrics is not None:
            rollouts = None if desk is None else desk.rollouts
            feedback = None if desk is None else desk.feedback
            settings = self._settings
            payloads = settings.payloads.folder_in(settings.state_dir) if settings.payloads.enabled else None
            certificate = settings.tls.certificate
            figures = Figures(
                service, self._logs, certificate, rollouts=rollouts, feedback=feedback, payloads=payloads,
                episodes=None if desk is None else desk.episodes, webhooks=None if desk is None else desk.webhooks,
            )  # fmt: skip
            self._serve(create_metrics_app(figures, self._door(self._logs[1])), metrics)
        self._beside.append(asyncio.create_task(self._doorman.run()))
        if self._certificate is not None:
            self._beside.append(asyncio.create_task(renewing(self._certificate, self._settings.tls.reload_s)))

    async def close(self) -> None:
        """Ends the listeners, once what is being answered is answered."""
        for server in self._servers:
            server.should_exit = True
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def _door(self, log: CountedLog) -> Door:
        return Door(self._doorman, self._hosts, log)

    def _serve(self, app: ASGIApp, listener: socket.socket) -> None:
        server = server_of(app, self._certificate)
        self._servers.append(server)
        self._serving.append(asyncio.create_task(server.serve(sockets=[listener])))

    async def _rotate(self) -> None:
        now_s = await self._store.now_ms() / 1000
        await rotate_when_due(self._store, now_s, self._settings.access.request_id_key_days)


def certificate_of(settings: Settings) -> ServerCertificate | None:
    """The certificate of our listeners; None where they speak in the clear.

    Raises:
        StartFailed: it cannot be used.
    """
    tls = settings.tls
    if tls.certificate is None or tls.key is None:
        return None
    return ServerCertificate(tls.certificate, tls.key, min_version=tls.min_version)


async def renewing(certificate: ServerCertificate, every_s: float) -> None:
    """Takes up new files again and again, until it is cancelled."""
    while True:
        await asyncio.sleep(every_s)
        certificate.renew()
