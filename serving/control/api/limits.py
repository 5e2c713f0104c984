"""What is read of a body: JSON alone, no more than any change needs, and for no longer than it should take.

An answer may come before the body has been read, above all a refusal. The connection then cannot be used again, and
must not just be closed either: what is still under way would meet a closed socket, whose reset can take the answer away
before it is read. So what arrives is thrown away for a moment more (RFC 9112, section 9.6).
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drift.webhooks import LONGEST_BODY
from serving.control.api.caller import READING, header
from serving.errors import STATUS, Refusal

LARGEST_BODY = 64 * 1024
LARGEST_REGISTRATION = 4 * 1024 * 1024
"""A registration brings a signature and an example request along."""
LARGEST_BASELINE = 44 * 1024 * 1024
"""`registry.baselines.MOST_BYTES` in base64, and some words."""
LARGEST_FEEDBACK = 1024 * 1024
"""A batch has up to a thousand items."""
LARGEST_MESSAGE = LONGEST_BODY
"""At the rollback target."""

SLOWEST_BODY_S: Final = 30.0
"""How long a body may take from the moment that somebody waits for it."""
LINGER_S: Final = 1.0
"""How long what is under way is thrown away after an answer that did not wait for it."""

_REGISTRY = "/api/v1/registry/"
_DRIFT = "/api/v1/drift/models/"
_FEEDBACK = "/api/v1/feedback"
_TARGET = "/api/v1/drift/hooks/"


class BodyLimit:
    """Reads no more of a body than its path may need, waits no longer for it than it should take, and takes JSON alone.

    Args:
        app: what reads the body.
        slowest_s: `SLOWEST_BODY_S`.
        linger_s: `LINGER_S`.
    """

    def __init__(self, app: ASGIApp, *, slowest_s: float = SLOWEST_BODY_S, linger_s: float = LINGER_S) -> None:
        self._app = app
        self._slowest_s = slowest_s
        self._linger_s = linger_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer, or 408, 413 or 415 where it asks for the body."""
        body = _Body(scope, receive, send, self._slowest_s, self._linger_s)
        await self._app(scope, body.receive, body.send)


class _Body:
    """One request's body, and the answer that may come before it has ended."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, slowest_s: float, linger_s: float) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._most = _most(scope["path"])
        self._left = self._most
        self._coming = _has_body(scope)
        self._unwanted = scope["method"] in READING
        self._slowest_s = slowest_s
        self._linger_s = linger_s
        self._until: float | None = None

    async def receive(self) -> Message:
        """The next piece; when the body has ended, whatever comes then, however late.

        Nobody reads a body of what only asks: there somebody waits for the peer to leave, beside an answer that may
        have begun. So nothing is refused there, but thrown away.
        """
        while self._unwanted and self._coming:
            await self._next()
        if not self._coming:
            return await self._receive()
        if self._until is None:
            json_only(self._scope)
            if _declared(self._scope) > self._most:
                raise _too_large(self._most)
            self._until = asyncio.get_running_loop().time() + self._slowest_s
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._next()
        except TimeoutError:
            raise _too_slow(self._slowest_s) from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _too_large(self._most)
        return message

    async def send(self, message: Message) -> None:
        """Passes the answer on; where the body has not ended, the connection ends after it."""
        if not self._coming:
            await self._send(message)
            return
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Connection"] = "close"
            await self._send(message)
        elif message.get("more_body", False):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._discard()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self) -> Message:
        message = await self._receive()
        self._coming = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def _discard(self) -> None:
        try:
            async with asyncio.timeout(self._linger_s):
                while self._coming:
                    await self._next()
        except TimeoutError:
            pass


def _most(path: str) -> int:
    if path.startswith(_REGISTRY):
        return LARGEST_REGISTRATION
    if path.startswith(_DRIFT):
        return LARGEST_BASELINE
    if path.startswith(_TARGET):
        return LARGEST_MESSAGE
    return LARGEST_FEEDBACK if path == _FEEDBACK else LARGEST_BODY


def json_only(scope: Scope) -> None:
    """Refuses what does not say that it is JSON: a page elsewhere can send the other types without being asked.

    Raises:
        HTTPException: 415.
    """
    kind = b"".join(header(scope, b"content-type")).partition(b";")[0].strip().lower()
    if kind != b"application/json" and not kind.endswith(b"+json"):
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the change as application/json.")


def _has_body(scope: Scope) -> bool:
    return bool(header(scope, b"transfer-encoding")) or _declared(scope) > 0


def _declared(scope: Scope) -> int:
    """The length that is announced, bytes; 0 where there is none. What is no number, the server has refused."""
    return max((int(length) for length in header(scope, b"content-length") if length.strip().isdigit()), default=0)


def _too_large(most: int) -> HTTPException:
    return HTTPException(
        STATUS[Refusal.TOO_LARGE].http, f"The body is larger than {most:,} bytes, the most that is read."
    )


def _too_slow(slowest_s: float) -> HTTPException:
    return HTTPException(
        STATUS[Refusal.TOO_SLOW].http, f"The body did not arrive within {slowest_s:g} seconds, the most that is waited."
    )
