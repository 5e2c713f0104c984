"""Serving over TLS with uvicorn: with our certificate, which is renewed under way, and a time for shaking hands.

Left to itself uvicorn waits a minute for a handshake, and counts no connection before it is over.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from serving.control.api.listening import HEAD_S, config_of
from serving.tls import ServerCertificate

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
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                self._connection, sock=one, ssl=self.config.ssl, backlog=self.config.backlog,
                ssl_handshake_timeout=HEAD_S, ssl_shutdown_timeout=_GOODBYE_S,
            )
            for one in sockets or ()
        ]  # fmt: skip

    def _connection(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made
