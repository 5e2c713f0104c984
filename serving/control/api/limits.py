"""How much of a body is read: no more than any change needs."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import STATUS, Refusal

LARGEST_BODY = 64 * 1024
LARGEST_REGISTRATION = 4 * 1024 * 1024
"""A registration brings a signature and an example request along."""

_REGISTRY = "/api/v1/registry/"


class BodyLimit:
    """Reads no more of a body than its path may need.

    Args:
        app: what reads the body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer, or 413."""
        most = LARGEST_REGISTRATION if str(scope.get("path", "")).startswith(_REGISTRY) else LARGEST_BODY
        left = most

        async def receive_no_more() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(
                    STATUS[Refusal.TOO_LARGE].http, f"The body is larger than {most:,} bytes, the most that is read."
                )
            return message

        await self._app(scope, receive_no_more, send)
