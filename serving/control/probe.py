"""Whether somebody else's Triton serves a version: asked through tritonclient, as every control call to Triton is."""

from __future__ import annotations

import asyncio

from tritonclient.http.aio import InferenceServerClient

from serving.endpoint import Endpoint


class TritonProbe:
    """Asks Tritons whether they are ready; keeps a connection to each.

    Args:
        timeout_s: how long one Triton may take to answer.
    """

    def __init__(self, timeout_s: float = 1.0) -> None:
        self._timeout_s = timeout_s
        self._clients: dict[str, InferenceServerClient] = {}

    async def __call__(self, endpoint: Endpoint) -> bool:
        """Whether the server is ready, and that version of the model on it."""
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        address = f"{host}:{endpoint.http_port}"
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = InferenceServerClient(address, conn_timeout=self._timeout_s)
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
