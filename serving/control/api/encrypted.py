"""Serving over TLS with uvicorn: with our certificate, which is renewed under way, and a time for shaking hands.

Left to itself uvicorn waits a minute for a handshake, and counts no connection before it is over: so this listens by
itself, as the gateway does, with a most to how many handshakes are under way.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp

from serving.control.api.listening import HEAD_S, config_of
from serving.gateway.door import Door as Listening
from serving.gateway.door import Encryption
from serving.tls import ServerCertificate

MOST_HANDSHAKES: Final = 128
"""At once; who comes beyond it is dropped."""
_GOODBYE_S: Final = 5.0
"""How long a client may take to say goodbye after we have."""


def server_of(app: ASGIApp, certificate: ServerCertificate | None, **more: Any) -> uvicorn.Server:  # noqa: ANN401 - uvicorn's
    """A server for `serve(sockets=[…])`.

    Args:
        app: what answers.
        certificate: what it shows; None for a server in the clear.
        more: further arguments of uvicorn's configuration.
    """
    if certificate is None:
        return uvicorn.Server(config_of(app, **more))
    context = certificate.context
    return _Encrypted(config_of(app, ssl_context_factory=lambda _config, _default: context, **more))


class _Encrypted(uvicorn.Server):
    """The same as uvicorn's, but for how it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen on these sockets."""
        await super().startup(sockets=[])
        encryption = Encryption(self.config.ssl, HEAD_S, _GOODBYE_S, MOST_HANDSHAKES)  # type: ignore[arg-type] # there is one
        doors = [Listening(one, self._connection, lambda: True, encryption) for one in sockets or ()]
        for door in doors:
            door.open()
        self.servers = cast("list[asyncio.Server]", doors)  # all that is asked of them is to close

    def _connection(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made
