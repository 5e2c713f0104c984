"""What a browser is kept from doing with the control API, whoever its user is.

A page from anywhere can have its reader's browser send requests to an API on the reader's own machine. Three things
stand against that, with keys or without: the name under which the API is reached must be one of its own (a page whose
name was made to point here meanwhile, DNS rebinding, is of another); a change must not come from another site's page
(the `Origin` and `Sec-Fetch-Site` headers, which no page can forge); and every answer tells the browser to guess,
frame, keep and pass on nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access.security_log import SecurityLog
from serving.addresses import is_loopback
from serving.control.api.caller import READING, header
from serving.control.api.refusing import Reason, turn_away
from serving.errors import Refusal

NO_CONTENT_AT_ALL: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_UNLESS_SAID: Final = {"Content-Security-Policy": NO_CONTENT_AT_ALL, "Cache-Control": "no-store"}
SECURITY_HEADERS: Final = {**_ALWAYS, **_UNLESS_SAID}
"""What an answer carries that says nothing else of it."""
_HSTS: Final = "max-age=31536000"
_PORTS: Final = {"http": 80, "https": 443}
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::([0-9]{1,5}))?")


class OnlyHttp:
    """Lets HTTP through to what checks it. Whatever else there may be has no door that does.

    Args:
        app: what answers, behind its door.
        inner: the same without it, for the server's own beginning and end.
    """

    def __init__(self, app: ASGIApp, inner: ASGIApp) -> None:
        self._app = app
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer; a web socket is closed before it opens."""
        if scope["type"] == "http":
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})


class SecurityHeaders:
    """Puts on every answer what tells a browser to do nothing with it but show it.

    Args:
        app: what answers; a policy or a caching of its own is left as it is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer with the headers on it."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_ALWAYS)
                for name, value in _UNLESS_SAID.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https" and not is_loopback(_host_of(scope) or ""):
                    headers["Strict-Transport-Security"] = _HSTS
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Hosts:
    """Lets requests through that were meant for this API, by the name that they give.

    An address of loopback, the address that the connection came in at, `localhost`, and the names that are configured:
    none of them can be made to point here by somebody else's name server.

    Args:
        app: what answers.
        names: further names, without a port.
        log: where others are written down.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], log: SecurityLog) -> None:
        self._app = app
        self._names = frozenset({"localhost", *map(_plain, names)})
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer, or 421."""
        said = _host_of(scope)
        if said is None or not self._ours(said, scope):
            await turn_away(self._log, _ELSEWHERE, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _ours(self, host: str, scope: Scope) -> bool:
        server = scope.get("server")
        return host in self._names or is_loopback(host) or (server is not None and host == _plain(str(server[0])))


_ELSEWHERE = Reason(
    Refusal.WRONG_HOST,
    "host",
    "This API is not reached under the host that the request names.",
    "Use its address or localhost, or add the name to control.allowed_hosts.",
)


class Framing:
    """Lets requests through of whose end everybody on their way has the same idea; else one could hide in another.

    The server refuses most of the others by itself. Of a length and chunks it takes the chunks, as it may, and it takes
    any two digits for a version.

    Args:
        app: what answers.
        log: where others are written down.
    """

    def __init__(self, app: ASGIApp, log: SecurityLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer, or 400."""
        chunked = bool(header(scope, b"transfer-encoding"))
        meant = {"1.1"} if chunked else {"1.0", "1.1"}
        if (chunked and header(scope, b"content-length")) or scope["http_version"] not in meant:
            await turn_away(self._log, _AMBIGUOUS, scope, receive, send)
            return
        await self._app(scope, receive, send)


_AMBIGUOUS = Reason(
    Refusal.BROKEN_FRAMING,
    "framing",
    "Where this request ends is not clear to everybody.",
    "Send HTTP/1.1 with Content-Length or Transfer-Encoding, not both.",
)


class SameOrigin:
    """Lets changes through that no other site's page can have asked for.

    Programs send neither header and are not touched. A browser sends `Origin` with every change, and most send
    `Sec-Fetch-Site` with everything; a page can set neither.

    Args:
        app: what answers.
        log: where others are written down.
    """

    def __init__(self, app: ASGIApp, log: SecurityLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer, or 403."""
        if scope["method"] not in READING and _from_elsewhere(scope):
            await turn_away(self._log, _ANOTHER_SITE, scope, receive, send)
            return
        await self._app(scope, receive, send)


_ANOTHER_SITE = Reason(
    Refusal.FORBIDDEN,
    "origin",
    "A page of another site may not change anything here.",
    "Use the CLI, or a client that is no browser; pages of this API's own origin may.",
)


def _from_elsewhere(scope: Scope) -> bool:
    sites = header(scope, b"sec-fetch-site")
    if any(site.strip() not in {b"same-origin", b"none"} for site in sites):
        return True
    origins = header(scope, b"origin")
    return bool(origins) and (len(origins) > 1 or not _is_own(origins[0].decode("latin-1"), scope))


def _is_own(origin: str, scope: Scope) -> bool:
    """Whether host and port are those that the request is for.

    The scheme is not compared: a proxy that ends TLS in front of us changes it, and an attacker who can speak for our
    host and port can do so with either.
    """
    scheme, _, authority = origin.lower().partition("://")
    meant = _authority_of(scope)
    if scheme not in _PORTS or meant is None:
        return False
    came_from, port = _AUTHORITY.fullmatch(authority), str(_PORTS[scheme])
    return came_from is not None and (came_from[1], came_from[2] or port) == (meant[1], meant[2] or port)


def _authority_of(scope: Scope) -> re.Match[str] | None:
    """Host and port that the request names; None where there is not exactly one well-formed `Host`."""
    given = header(scope, b"host")
    return _AUTHORITY.fullmatch(given[0].decode("latin-1").lower()) if len(given) == 1 else None


def _host_of(scope: Scope) -> str | None:
    """The host alone, in lower case, without brackets and a final dot."""
    found = _authority_of(scope)
    return None if found is None else _plain(found[1])


def _plain(host: str) -> str:
    return host.lower().strip("[]").rstrip(".")
