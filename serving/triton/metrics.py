"""What a tritonserver counts for Prometheus, of which one figure is read: the requests that it has not begun with.

That count is the server's own, so it has what reached it by every way, shadows and other gateways included. It is
looked at once a second by the replica, on a port that is open to this machine alone.
"""

import asyncio
import contextlib
import re

import httpx

EVERY_S = 1.0
"""How often it is looked at, in seconds."""

_TIMEOUT_S = 2.0
_PENDING = "nv_inference_pending_request_count"
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def pending_in(text: str, model: str, version: int) -> int | None:
    """How many requests wait in Triton for this model, in what its metrics say; None where they do not say it."""
    for line in text.splitlines():
        if line.startswith(f"{_PENDING}{{"):
            labels, _, value = line.rpartition("}")
            named = dict(_LABEL.findall(labels))
            if (named.get("model"), named.get("version")) == (model, str(version)):
                return _count(value)
    return None


class PendingCount:
    """The last pending count of one server; `run` it beside the server.

    Attributes:
        value: None before the first look, and when the last one failed.
    """

    def __init__(self, url: str, model: str, version: int) -> None:
        self.value: int | None = None
        self._url = url
        self._model = model
        self._version = version

    async def run(self) -> None:
        """Looks until cancelled; a server that does not answer is looked at again."""
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as client:
            while True:
                self.value = await self._look(client)
                await asyncio.sleep(EVERY_S)

    async def _look(self, client: httpx.AsyncClient) -> int | None:
        with contextlib.suppress(httpx.HTTPError):
            answer = await client.get(self._url)
            if answer.status_code == httpx.codes.OK:
                return pending_in(answer.text, self._model, self._version)
        return None


def _count(value: str) -> int | None:
    """A gauge's value, which Prometheus writes as a float."""
    try:
        return max(0, int(float(value.split(maxsplit=1)[0])))
    except (ValueError, IndexError, OverflowError):
        return None
