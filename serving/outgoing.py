"""The one place that every outgoing call to a configured address goes through.

There are two kinds of target. One from the settings file is trusted: whoever writes that file owns the machine. One
that was set over the API is somebody's wish, and this process stands where its sender does not, beside Redis, Ray and
a cloud's metadata; so it must be https to a public address. What is public is judged where it counts: the name is
resolved once for each connection, every address that comes back is looked at, and the connection is made to the very
address that was looked at, so that a name whose answer changes gains nothing. TLS still checks the name.

For both: a redirect is an error and never followed, no proxy or password is taken from the environment, nothing is
decompressed, and size and time have limits over the whole call. What goes wrong is told in sentences that show the
address's scheme, host and port, and neither its path nor what the name resolved to.

httpcore is used without httpx around it: what is refused here (redirects, proxies, netrc, content codings, cookies) is
what httpx adds. The only file that knows httpcore.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Self

import httpcore

from serving.addresses import is_public
from serving.errors import SluiceError

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host's name and a port to its addresses."""

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!-~]*)?(?P<query>\?[!-~]*)?"
)
_LONGEST_URL = 2_048
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LARGEST_PORT = 65_535
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_HOST = 253
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_REDIRECTS = range(300, 400)
_PLAIN_CODINGS = {"", "identity"}


class CallFailed(SluiceError):  # noqa: N818 - named after what happened; SluiceError says that it is an error
    """An outgoing call brought no answer that can be used."""


class NotCallable(SluiceError):  # noqa: N818 - as above
    """An address that nothing is sent to."""


class Trust(Enum):
    """Who named an address."""

    SETTINGS = "settings"
    """The settings file."""
    API = "api"
    """Somebody over the network."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address that may be called; build it with `trusted` or `public`.

    Its path and query may hold a password, so that neither is in its `repr`.
    """

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)
    trust: Trust

    @classmethod
    def trusted(cls, url: str) -> Self:
        """An address from the settings file: http or https, to whatever host.

        Raises:
            NotCallable: it is no such address.
        """
        return cls._read(url, Trust.SETTINGS)

    @classmethod
    def public(cls, url: str, ports: Iterable[int] = (443,)) -> Self:
        """An address that was set over the API: https, to a public host, on one of these ports.

        Raises:
            NotCallable: it is none, or written so that programs read it in two ways.
        """
        target = cls._read(url, Trust.API)
        if target.scheme != "https":
            raise NotCallable(f"{target} cannot be called: it is not https.", "Give an address with https://.")
        allowed = sorted(set(ports))
        if target.port not in allowed:
            raise NotCallable(
                f"{target} cannot be called: its port is not allowed.",
                f"Allowed is {', '.join(map(str, allowed))}.",
            )
        _check_public_host(target.host)
        return target

    @classmethod
    def _read(cls, url: str, trust: Trust) -> Self:
        found = _URL.fullmatch(url) if isinstance(url, str) and len(url) <= _LONGEST_URL else None
        path = "" if found is None else f"{found['path'] or '/'}{found['query'] or ''}"
        if found is None or "#" in path or "\\" in path:
            raise NotCallable(
                "This is no address that can be called.",
                "Write https://host/path in ASCII, without a user, a password or a fragment.",
            )
        port = int(found["port"] or _DEFAULT_PORTS[found["scheme"]])
        if not 0 < port <= _LARGEST_PORT:
            raise NotCallable(f"There is no port {port}.", "Give one from 1 to 65535.")
        return cls(found["scheme"], found["host"].strip("[]").lower(), port, path, trust)

    @property
    def authority(self) -> str:
        """Host and port as a `Host` header has them: 'hooks.example.com:8443', '[2606:4700::1]'."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        """What may be shown of it: 'https://hooks.example.com:8443'."""
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one call may take.

    Attributes:
        total_s: from its beginning to the last byte of the answer, seconds.
        answer_bytes: the answer's body.
    """

    total_s: float = 10.0
    answer_bytes: int = 1_048_576

    def __post_init__(self) -> None:
        """Refuses what bounds nothing.

        Raises:
            ValueError: with a sentence.
        """
        if not (0 < self.total_s < float("inf") and self.answer_bytes >= 0):
            raise ValueError("a call has a time above 0 s and a number of bytes")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, its headers by name in lower case (of two by one name the last), its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def resolve(host: str, port: int) -> Sequence[str]:
    """The system's addresses for a name.

    Raises:
        OSError: there are none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Outgoing:
    """Calls to configured addresses, each on a connection of its own.

    Args:
        bounds: of each call.
        ca_file: PEM file of the authorities that certificates are checked against; None for the system's.
        resolving: names to addresses.
        network: makes connections to addresses; None for the real one.
    """

    def __init__(
        self,
        bounds: Bounds = Bounds(),
        *,
        ca_file: str | None = None,
        resolving: Resolve = resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._bounds = bounds
        self._tls = ssl.create_default_context(cafile=ca_file)
        self._resolving = resolving
        self._network = network or httpcore.AnyIOBackend()

    async def get(self, target: Target, headers: Mapping[str, str] = MappingProxyType({})) -> Reply:
        """What is at the address.

        Raises:
            CallFailed: there is no answer, or one that is refused; an error status is an answer.
        """
        return await self.call("GET", target, headers=headers)

    async def call(
        self, method: str, target: Target, *, headers: Mapping[str, str] = MappingProxyType({}), body: bytes = b""
    ) -> Reply:
        """The answer to one request.

        Args:
            method: in capitals.
            target: where to.
            headers: beside ours, which are about the connection, the body and who calls.
            body: of the request.

        Raises:
            CallFailed: as for `get`.
        """
        try:
            async with asyncio.timeout(self._bounds.total_s):
                return await self._called(_request(method, target, headers, body), target)
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise CallFailed(f"{target} did not answer within {self._bounds.total_s:g} s.") from error
        except (httpcore.NetworkError, OSError) as error:
            raise CallFailed(_unreachable(target, error), "See that it runs and can be reached from here.") from error
        except UnicodeError as error:
            raise CallFailed(f"The request to {target} has a header that is not ASCII.") from error
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            raise CallFailed(f"{target} does not speak HTTP as it should.") from error

    async def _called(self, request: httpcore.Request, target: Target) -> Reply:
        network = _Checked(self._network, self._resolving, target)
        async with (
            httpcore.AsyncConnectionPool(
                self._tls, max_connections=1, max_keepalive_connections=0, network_backend=network
            ) as pool,
            _closing(await pool.handle_async_request(request)) as answer,
        ):
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
            _check_answer(target, answer.status, headers)
            return Reply(answer.status, MappingProxyType(headers), await self._body(target, answer, headers))

    async def _body(self, target: Target, answer: httpcore.Response, headers: Mapping[str, str]) -> bytes:
        most = self._bounds.answer_bytes
        announced = headers.get("content-length", "")
        body = bytearray()
        if not (announced.isdecimal() and int(announced[:20]) > most):
            async for piece in answer.aiter_stream():
                body += piece
                if len(body) > most:
                    break
            else:
                return bytes(body)
        raise CallFailed(f"{target} answered with more than {most:,} bytes, which is all that is read.")


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects to what was looked at: the name is resolved here, and whoever connects is given an address."""

    def __init__(self, network: httpcore.AsyncNetworkBackend, resolving: Resolve, target: Target) -> None:
        self._network = network
        self._resolving = resolving
        self._target = target

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to one of the host's addresses, the first that answers."""
        failed: Exception = OSError("no address")
        for address in await self._addresses(host, port):
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            found = list(dict.fromkeys(await self._resolving(host, port)))
        except (OSError, UnicodeError) as error:
            if self._target.trust is Trust.SETTINGS:
                raise CallFailed(
                    f"The name in {self._target} is not known here.", "See that it is spelt well."
                ) from error
            found = []
        # One sentence for both: what a name means inside is nobody's business outside.
        if self._target.trust is Trust.API and not (found and all(map(is_public, found))):
            raise CallFailed(
                f"{self._target} is not called: its name does not lead to public addresses, or not to those alone."
            )
        return found


@asynccontextmanager
async def _closing(answer: httpcore.Response) -> AsyncIterator[httpcore.Response]:
    """As contextlib's, for what closes by another name."""
    try:
        yield answer
    finally:
        await answer.aclose()


def _request(method: str, target: Target, headers: Mapping[str, str], body: bytes) -> httpcore.Request:
    ours = {"host": target.authority, "user-agent": "sluice", "accept-encoding": "identity", "connection": "close"}
    if body or method not in {"GET", "HEAD"}:
        ours["content-length"] = str(len(body))
    said = {name.lower(): value for name, value in headers.items()} | ours
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    fields = [(name.encode("ascii"), value.encode("ascii")) for name, value in said.items()]
    return httpcore.Request(method, url, headers=fields, content=body or None)


def _check_answer(target: Target, status: int, headers: Mapping[str, str]) -> None:
    if status in _REDIRECTS:
        raise CallFailed(
            f"{target} answers with a redirect ({status}), and none is followed.",
            "Configure the address that it leads to.",
        )
    if headers.get("content-encoding", "").strip().lower() not in _PLAIN_CODINGS:
        raise CallFailed(f"{target} compresses its answer although it was asked not to, and nothing is unpacked.")


def _unreachable(target: Target, error: BaseException) -> str:
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ssl.SSLCertVerificationError):
            return f"The certificate of {target} is not accepted: {inner.verify_message}."
        inner = inner.__cause__ or inner.__context__
    return f"{target} cannot be reached, or broke off."


def _check_public_host(host: str) -> None:
    """Refuses what resolvers read in more than one way, and what can only be a name inside."""
    labels = host.split(".")
    if ":" in host or _NUMBER.fullmatch(labels[-1]):
        # Resolvers take 2130706433, 0x7f.1 and 0177.0.0.1 for 127.0.0.1; none of them is an address here.
        fit = is_public(host)
    else:
        fit = len(labels) > 1 and len(host) <= _LONGEST_HOST and all(map(_LABEL.fullmatch, labels))
    if not fit:
        raise NotCallable(
            f"{host[:100]!r} is no public host.",
            "Give its full name, such as hooks.example.com, or its public address.",
        )
