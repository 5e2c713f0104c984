"""Whether somebody else's Triton serves a version: asked through tritonclient, as every control call to Triton is."""

from __future__ import annotations

import asyncio

from tritonclient.http.aio import InferenceServerClient

from serving.endpoint import Endpoint
from serving.tls import client_context


class TritonProbe:
    """Asks Tritons whether they are ready; keeps a connection to each.

    Args:
        timeout_s: how long one Triton may take to answer.
        ca_file: PEM, whom certificates of encrypted ones must come from; empty for whom the system trusts.

    Raises:
        StartFailed: the file cannot be used.
    """

    def __init__(self, timeout_s: float = 1.0, ca_file: str = "") -> None:
        self._timeout_s = timeout_s
        self._tls = client_context(ca_file)
        self._clients: dict[str, InferenceServerClient] = {}

    async def __call__(self, endpoint: Endpoint) -> bool:
        """Whether the server is ready, and that version of the model on it."""
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        address = f"{host}:{endpoint.http_port}"
        spoken_to = f"https://{address}" if endpoint.tls else address
        client = self._clients.get(spoken_to)
        if client is None:
            client = self._clients[spoken_to] = InferenceServerClient(
                address, conn_timeout=self._timeout_s, ssl=endpoint.tls, ssl_context=self._tls if endpoint.tls else None
            )
        try:
            async with asyncio.timeout(self._timeout_s):
                ready = await client.is_server_ready()
                return bool(ready and await client.is_model_ready(endpoint.model, str(endpoint.version)))
        except Exception:  # noqa: BLE001 - whatever goes wrong between us, it is not ready for traffic
            return False

    async def close(self) -> None:
        """Gives the connections back."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()
