"""The way from a command to a gateway's prediction port: one request, its answer, and why there is none."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import httpx

from serving.control.credentials import Credentials
from serving.errors import SluiceError
from serving.payloads.replaying import Reply
from serving.payloads.requests import Rebuilt

_READS: Final = ("content-type", "inference-header-content-length")
_SYNTHETIC: Final[Mapping[str, str]] = {"sluice-synthetic": "true"}
_FORBIDDEN: Final = 403
_NEVER: Final = frozenset({401, 403, 404})
"""Answers that the next request would get as well."""


class Gateway:
    """One version of a model, behind a gateway; an async context manager.

    Requests are marked synthetic, so that they enter no verdict, no sample and no payload log. Where the key has not
    the right for that, they go without the mark, and `marked` says so.

    Args:
        url: of the prediction port, such as http://127.0.0.1:8000.
        model: its name.
        version: that answers, whatever the policy says.
        credentials: what is shown to the gateway, and what it must show.
        at_once: connections at most.
        timeout_s: how long one answer may take.

    Raises:
        ControlError: the key would go over plain http to another machine, or a certificate's file cannot be used.
    """

    def __init__(
        self, url: str, model: str, version: int, *, credentials: Credentials, at_once: int, timeout_s: float = 120.0
    ) -> None:
        self.marked = True
        self._url = url.rstrip("/")
        self._path = f"{self._url}/v2/models/{quote(model, safe='')}/versions/{version}/infer"
        self._asked = False
        self._client = httpx.AsyncClient(
            timeout=timeout_s,
            verify=credentials.context() if self._url.lower().startswith("https:") else True,
            headers={**credentials.headers_for(self._url), "accept-encoding": "identity"},
            limits=httpx.Limits(max_connections=at_once),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def send(self, request: Rebuilt) -> Reply:
        """The answer; no answer is one with the status 0.

        Raises:
            SluiceError: at the first request: nobody is there, or the gateway refuses whatever would come.
        """
        first, self._asked = not self._asked, True
        try:
            reply = await self._post(request)
            if first and reply.status == _FORBIDDEN:
                self.marked = False
                reply = await self._post(request)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise SluiceError(f"{self._url!r} is no address.", "Write it like http://127.0.0.1:8000.") from error
        except httpx.HTTPError as error:
            if first and isinstance(error, httpx.ConnectError):
                hint = "Start it with `sluice up`, or name its prediction port with --gateway."
                raise SluiceError(f"No gateway answers at {self._url}.", hint) from error
            return Reply(0, b"", b"", 0.0)
        if first and reply.status in _NEVER:
            raise SluiceError(f"The gateway refuses the first request ({reply.status}): {_words(reply.body)}")
        return reply

    async def _post(self, request: Rebuilt) -> Reply:
        headers = {**request.headers, **(_SYNTHETIC if self.marked else {})}
        began_s = time.monotonic()
        answer = await self._client.post(self._path, content=request.body, headers=headers)
        lines = "".join(f"{name}: {answer.headers[name]}\r\n" for name in _READS if name in answer.headers)
        return Reply(answer.status_code, lines.encode("latin-1"), answer.content, time.monotonic() - began_s)


def _words(body: bytes) -> str:
    """The sentence of an answer that is an error, as far as it is fit to be shown."""
    try:
        text = str(httpx.Response(200, content=body).json()["error"])
    except (ValueError, KeyError, TypeError):
        return "it does not say why."
    return "".join(one for one in text[:500] if one.isprintable())
