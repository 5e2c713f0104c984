"""A gateway's own listener, asked by its replica on behalf of callers inside Ray.

They go through the same door as everybody else, with a key that the replica has made for itself, so that the split, the
limits and the counting hold for them as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx

from serving.control.credentials import Credentials
from serving.errors import ControlError, SluiceError, StartFailed


class OwnListener:
    """A client of one gateway listener on this machine.

    Args:
        url: where it is.
        credentials: what is shown to it, and the certificate that it shows.
        timeout_s: how long an answer may take.
    """

    def __init__(self, url: str, credentials: Credentials, timeout_s: float) -> None:
        self._url = url
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._client = self._connected()

    async def infer(
        self, model: str, request: Mapping[str, Any], version: int | None, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        """What the model answers.

        Args:
            model: its name.
            request: an inference request of the Open Inference Protocol, as JSON values.
            version: bypasses the split.
            headers: a caller's own `authorization` goes before ours.

        Raises:
            SluiceError: the answer was an error; the sentence is the answer's.
        """
        at = f"/v2/models/{quote(model, safe='')}" + ("" if version is None else f"/versions/{version}")
        try:
            answer = await self._asked(f"{at}/infer", request, headers)
        except httpx.HTTPError as error:
            raise SluiceError(f"The gateway did not answer: {str(error) or type(error).__name__}.") from error
        if answer.is_error:
            raise SluiceError(_error_in(answer))
        return dict(answer.json())

    async def close(self) -> None:
        """Gives the connections back."""
        await self._client.aclose()

    async def _asked(self, path: str, request: Mapping[str, Any], headers: Mapping[str, str]) -> httpx.Response:
        try:
            return await self._client.post(path, json=dict(request), headers=dict(headers))
        except httpx.ConnectError:
            if self._credentials.certificate is None:
                raise
        # The certificate that we trust may have been renewed since; nothing was sent yet, so it is asked once more.
        before, self._client = self._client, self._connected()
        await before.aclose()
        return await self._client.post(path, json=dict(request), headers=dict(headers))

    def _connected(self) -> httpx.AsyncClient:
        try:
            verify = self._credentials.context()
        except ControlError as error:
            raise StartFailed(error.sentence, error.hint) from error
        shown = self._credentials.headers_for(self._url)
        return httpx.AsyncClient(
            base_url=self._url, timeout=self._timeout_s, verify=verify, headers=shown, trust_env=False
        )


def _error_in(answer: httpx.Response) -> str:
    with suppress(ValueError, KeyError, TypeError):
        return str(answer.json()["error"])
    return f"The gateway answered {answer.status_code}."
