"""One prediction over one connection, and what came of it: HTTP with geventhttpclient, gRPC with grpcio.

Runs in the generator's processes, where sockets are gevent's; imported by nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import gevent
import grpc
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError

from loadtests.load.payloads import Payload
from loadtests.load.records import Error, Kind, Said, legible
from loadtests.load.spec import Spec

_OK, _BAD, _FAILED = 200, 400, 500
_MOST_BYTES = 300
_RECONNECTS_MS = 1_000
_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_CODES: Mapping[grpc.StatusCode, tuple[int, Error]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: (504, Error.TIMEOUT),
    grpc.StatusCode.UNAVAILABLE: (503, Error.LOST),
    grpc.StatusCode.INVALID_ARGUMENT: (400, Error.REFUSED),
    grpc.StatusCode.UNAUTHENTICATED: (401, Error.REFUSED),
    grpc.StatusCode.PERMISSION_DENIED: (403, Error.REFUSED),
    grpc.StatusCode.NOT_FOUND: (404, Error.REFUSED),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (429, Error.REFUSED),
}


class Heard(NamedTuple):
    """What came of one request: `words` says what went wrong, `request_id` what feedback names it by."""

    status: int
    error: Error
    said: Said = Said()
    words: str = ""
    request_id: str = ""


class Asker(Protocol):
    """A connection of one user."""

    def ask(self, unit: str, payload: Payload) -> Heard:
        """Sends one request and waits for what comes of it."""

    def close(self) -> None:
        """Ends the connection."""


def asker(spec: Spec, kind: Kind) -> Asker:
    """A connection for requests of that kind; it is made when the first is sent."""
    return _Grpc(spec) if kind is Kind.GRPC else _Http(spec)


def http_client(spec: Spec, host: str, port: int, *, tls: bool, timeout_s: float) -> HTTPClient:
    """A connection to one of our addresses."""
    return HTTPClient(
        host, port, concurrency=1, connection_timeout=timeout_s, network_timeout=timeout_s,
        ssl=tls, ssl_context_factory=spec.place.context if tls else None,
    )  # fmt: skip


class _Http:
    def __init__(self, spec: Spec) -> None:
        pinned = "" if spec.version is None else f"/versions/{spec.version}"
        self._path = f"/v2/models/{quote(spec.model, safe='')}{pinned}/infer"
        self._spec = spec
        self._headers = spec.sent_headers()
        self._client = self._connected()

    def ask(self, unit: str, payload: Payload) -> Heard:
        headers = {**self._headers, **payload.headers, self._spec.unit_header: unit}
        try:
            with gevent.Timeout(self._spec.timeout_s):
                answer = self._client.post(self._path, payload.body, headers)
                return _heard(answer.status_code, answer.get, answer.read())
        except (gevent.Timeout, TimeoutError):
            heard = Heard(0, Error.TIMEOUT, words=f"no answer within {self._spec.timeout_s:g} s")
        except HTTPConnectionClosed:
            heard = Heard(0, Error.LOST, words="the connection was closed before the answer")
        except HTTPParseError as error:
            heard = Heard(0, Error.UNREADABLE, words=f"no HTTP: {error}")
        except OSError as error:  # of TLS as well
            heard = Heard(0, Error.LOST, words=f"{type(error).__name__}: {error}")
        self._client.close()
        self._client = self._connected()
        return heard

    def close(self) -> None:
        self._client.close()

    def _connected(self) -> HTTPClient:
        place = self._spec.place
        return http_client(self._spec, *place.address, tls=place.tls, timeout_s=self._spec.timeout_s)


class _Grpc:
    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        options = (
            ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_reconnect_backoff_ms", _RECONNECTS_MS),  # else a server that is back is not asked for minutes
        )  # fmt: skip
        if spec.place.tls:
            trusted = spec.place.certificate or spec.place.ca_file
            secret = grpc.ssl_channel_credentials(Path(trusted).read_bytes() if trusted else None)
            self._channel = grpc.secure_channel(spec.place.grpc, secret, options)
        else:
            self._channel = grpc.insecure_channel(spec.place.grpc, options)
        self._ask = self._channel.unary_unary(_METHOD)
        self._metadata = spec.sent_headers()

    def ask(self, unit: str, payload: Payload) -> Heard:
        metadata = tuple({**self._metadata, self._spec.unit_header: unit}.items())
        try:
            _, call = self._ask.with_call(payload.body, timeout=self._spec.timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            status, kind = _CODES.get(error.code(), (500, Error.SERVER))
            return Heard(status, kind, words=legible(f"{error.code().name}: {error.details()}"))
        said = {**dict(call.trailing_metadata() or ()), **dict(call.initial_metadata() or ())}
        return _heard(_OK, said.get, b"")

    def close(self) -> None:
        self._channel.close()


def _heard(status: int, header: Callable[[str], Any], body: bytes) -> Heard:
    """What an answer says; `header` gives a header by its name, None for one that is not there."""
    said = Said(*(str(header(f"sluice-{name}") or "") for name in ("version", "reason", "epoch")))
    if status == _OK:
        return Heard(status, Error.NONE, said, request_id=str(header("sluice-request-id") or ""))
    error = Error.SERVER if status >= _FAILED or status < _BAD else Error.REFUSED
    return Heard(status, error, said, legible(f"{status} {bytes(body[:_MOST_BYTES]).decode('utf-8', 'replace')}"))
