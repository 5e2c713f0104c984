"""What stands on the wire when an encoder is asked: the Open Inference Protocol over HTTP, within bounds.

Time, bytes and requests under way are bounded for all encoders together. Requests to the installation's own gateway are
marked synthetic, so that they are no samples and enter no verdict. Keys and certificates are read anew from their files
once the server does not take the old ones.

Whoever is not there, or does not answer by the protocol, is `Unencoded`. A server that was reached and says no is
`Refused`: whether the rows or the encoder are to blame for that is for `drift.asking` to find out.

The room's one file that knows HTTP.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from drift.encoding import TEXT, Embedding, Encoder
from drift.errors import DriftError, Unencoded
from drift.samples import Tensor, tensor_of

AT_ONCE: Final = 4
"""Requests under way, of all encoders together."""
TIMEOUT_S: Final = 20.0
"""How long one answer may take."""

_MOST_SAID: Final = 1_048_576
"""Bytes of an answer beside its embeddings."""
_REQUEST_BYTES: Final = 8 * 1024 * 1024
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_LENGTH: Final = "inference-header-content-length"
_REFUSED: Final = frozenset({400, 413, 415, 422, 500})
"""What an encoder may answer because of the very rows that it was asked about."""
_UNKNOWN: Final = frozenset({401, 403})
_SOON: Final = frozenset({429, 502, 503, 504})
_ONE_LINE: Final = re.compile(r"[!-~]{1,8192}")


@dataclass(frozen=True, slots=True, repr=False)
class Server:
    """Where encoders are. Never printed, for it may hold a key.

    Attributes:
        url: such as http://127.0.0.1:8000.
        key: that is shown; empty for none.
        certificate: PEM file of the server's own certificate, which alone is trusted then, whatever name it is for.
        ca_file: PEM file of whom its certificate may come from; both empty for whom the system trusts.
        is_ours: whether it is a gateway of the installation, so that requests are marked synthetic.
        key_file: that holds the key instead; read anew where the one that was shown does not let in.
    """

    url: str
    key: str = ""
    certificate: str = ""
    ca_file: str = ""
    is_ours: bool = False
    key_file: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What goes with each request.

        Raises:
            Unencoded: the key's file cannot be read, or holds none.
        """
        said = {"accept-encoding": "identity"}
        if key := key_in(self.key_file) if self.key_file else self.key:
            said["authorization"] = f"Bearer {key}"
        return {**said, "sluice-synthetic": "1"} if self.is_ours else said

    def context(self) -> ssl.SSLContext | bool:
        """What a TLS connection trusts, as httpx takes it.

        Raises:
            Unencoded: a file cannot be read, or holds no certificate.
        """
        file = self.certificate or self.ca_file
        if not file:
            return True
        try:
            if not self.certificate:
                return ssl.create_default_context(cafile=file)
            found = _CERTIFICATE.search(Path(file).read_text(encoding="ascii"))
            context = ssl.create_default_context(cadata=found[0] if found else "")
        except (OSError, ValueError) as error:
            raise Unencoded(f"{file} holds no certificate that can be read: {error}.", "It takes PEM.") from error
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
        return context


def key_in(file: str) -> str:
    """The key in this file.

    Raises:
        Unencoded: it cannot be read, or holds none.
    """
    try:
        key = Path(file).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise Unencoded(f"{file} holds no key that can be read: {error}.") from error
    if not _ONE_LINE.fullmatch(key):
        raise Unencoded(f"{file} holds no key: it is one line without blanks.")
    return key


class Refused(Exception):  # noqa: N818 - no error: it may be the rows
    """The encoder was reached, and says no to these rows."""


class Answer(NamedTuple):
    """The output that an encoder was asked for, as it came.

    Attributes:
        datatype: as the protocol calls it.
        shape: that it says it has; not checked yet.
        values: its numbers.
    """

    datatype: str
    shape: tuple[int, ...]
    values: Embedding


class Wire:
    """Connections to servers of encoders, which are made when they are needed.

    Args:
        servers: by name; the installation's own gateway under the empty one.
        at_once: requests under way.
        timeout_s: how long one answer may take.
    """

    def __init__(self, servers: Mapping[str, Server], *, at_once: int, timeout_s: float) -> None:
        self._servers = dict(servers)
        self._room = asyncio.Semaphore(at_once)
        self._timeout_s = timeout_s
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def close(self) -> None:
        """Hangs up everywhere."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def answer(self, encoder: Encoder, rows: NDArray[Any]) -> Answer:
        """What the encoder makes of these rows, in one request.

        Args:
            encoder: that is asked.
            rows: of the type and the shape that it takes; one, unless it knows batches.

        Raises:
            Unencoded: it does not answer, or not by the protocol.
            Refused: it says no.
        """
        head, body, length = _request(encoder, rows)
        path = f"/v2/models/{quote(encoder.model, safe='')}/versions/{encoder.version}/infer"
        said = {"content-type": "application/octet-stream" if length else "application/json"}
        if length:
            said[_LENGTH] = str(length)
        most = _MOST_SAID + 32 * encoder.width * len(rows)
        async with self._asked(encoder.server, "POST", path, content=head + body, headers=said) as answer:
            raw = await _read(answer, most, str(encoder))
        _look(answer, raw, str(encoder))
        with reading(str(encoder)):
            return _output(encoder, raw, answer.headers.get(_LENGTH))

    async def said(self, server: str, path: str, who: str) -> dict[str, Any]:
        """What is said at this path, as JSON.

        Args:
            server: by its name.
            path: such as /v2.
            who: is asked, for sentences about it.

        Raises:
            Unencoded: nothing is said there.
        """
        async with self._asked(server, "GET", path) as answer:
            raw = await _read(answer, _MOST_SAID, who)
        try:
            _look(answer, raw, who)
        except Refused as error:
            raise Unencoded(f"{who} does not say what it is: {error}") from None
        with reading(who):
            return dict(json.loads(raw))

    @asynccontextmanager
    async def _asked(self, server: str, method: str, path: str, **said: Any) -> AsyncIterator[httpx.Response]:  # noqa: ANN401 - httpx's own
        """The answer, of which only the head has come; the whole has to come in time."""
        where = self._servers.get(server)
        if where is None:
            raise Unencoded(*_nowhere(server))
        client: httpx.AsyncClient | None = None
        try:
            async with self._room, asyncio.timeout(self._timeout_s):
                client = self._client(server, where)
                async with client.stream(method, path, **said) as answer:
                    yield answer
                if answer.status_code in _UNKNOWN and where.key_file:
                    await self._forget(server, client)  # the file may hold another key by now
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            if isinstance(error, httpx.ConnectError) and (where.certificate or where.ca_file):
                await self._forget(server, client)  # and these others
            words = str(error) or type(error).__name__
            raise Unencoded(f"{_place(server)} does not answer: {words}.") from error

    def _client(self, server: str, where: Server) -> httpx.AsyncClient:
        if server not in self._clients:
            self._clients[server] = httpx.AsyncClient(
                base_url=where.url, headers=where.headers, verify=where.context(), timeout=self._timeout_s,
                trust_env=False, limits=httpx.Limits(max_connections=AT_ONCE, keepalive_expiry=30),
            )  # fmt: skip
        return self._clients[server]

    async def _forget(self, server: str, client: httpx.AsyncClient | None) -> None:
        """Unless somebody has made another one already."""
        if client is not None and self._clients.get(server) is client:
            del self._clients[server]
            await client.aclose()


def rows_at_once(encoder: Encoder, rows: NDArray[Any]) -> int:
    """As many of these as the encoder takes in one request, and as fit into one of a bounded size."""
    each = max(1, rows.itemsize * math.prod(encoder.takes_shape) * (1 if encoder.binary else 4))
    return max(1, min(encoder.rows_at_once, _REQUEST_BYTES // each))


def _nowhere(server: str) -> tuple[str, str]:
    if server:
        return f"No encoder server {server} is named among drift.encoders.", "Name it in the settings, with its url."
    return "Nobody has said where the gateway is.", "Say it as drift.sidecar.gateway_url."


def _place(server: str) -> str:
    return f"The encoders' server {server}" if server else "The gateway"


def _request(encoder: Encoder, rows: NDArray[Any]) -> tuple[bytes, bytes, int]:
    """Head, body, and the length of the head where tensors follow it as bytes, else 0."""
    values = rows if encoder.batched else rows[0]
    tensor = tensor_of(encoder.takes, encoder.datatype, values)
    said: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    output: dict[str, Any] = {"name": encoder.gives}
    if encoder.binary:
        said["parameters"] = {"binary_data_size": len(tensor.data)}
        output["parameters"] = {"binary_data": True}
        head = json.dumps({"inputs": [said], "outputs": [output]}).encode()
        return head, tensor.data, len(head)
    data = values.reshape(-1).tolist()
    said["data"] = [one.decode("utf-8", "replace") for one in data] if encoder.datatype == TEXT else data
    return json.dumps({"inputs": [said], "outputs": [output]}).encode(), b"", 0


def _output(encoder: Encoder, raw: bytes, length: str | None) -> Answer:
    end = len(raw) if length is None else int(length)
    said = json.loads(raw[:end])
    at = end
    for one in said["outputs"]:
        size = int(one.get("parameters", {}).get("binary_data_size", 0))
        if one["name"] == encoder.gives:
            shape, datatype = tuple(map(int, one["shape"])), str(one["datatype"])
            if "data" in one:
                return Answer(datatype, shape, np.array(one["data"], np.float32))
            tensor = Tensor(encoder.gives, datatype, shape, raw[at : at + size])
            return Answer(datatype, shape, tensor.values().astype(np.float32))
        at += size
    raise KeyError(encoder.gives)


async def _read(answer: httpx.Response, most: int, who: str) -> bytes:
    """The body, up to that many bytes."""
    found = bytearray()
    async for some in answer.aiter_raw():
        found += some
        if len(found) > most:
            raise Unencoded(f"{who} answers more than {most:,} bytes.")
    return bytes(found)


def _look(answer: httpx.Response, raw: bytes, who: str) -> None:
    """Passes an answer that is good.

    Raises:
        Unencoded: nobody is there who could answer, or who would.
        Refused: it may be the rows.
    """
    status = answer.status_code
    if answer.is_success:
        return
    words = _words(raw)
    if status in _UNKNOWN:
        raise Unencoded(
            f"The key that is shown to {who} does not let in ({status}): {words}",
            "It takes one of the role operate, for requests are marked synthetic.",
        )
    if status in _REFUSED:
        raise Refused(f"{status}, {words}")
    raise Unencoded(f"{who} does not answer{' for now' if status in _SOON else ''} ({status}): {words}")


def _words(raw: bytes) -> str:
    """The sentence of an answer that is an error, as far as it is fit to be shown."""
    try:
        text = str(json.loads(raw)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "it does not say why."
    return "".join(one for one in text[:300] if one.isprintable())


@contextmanager
def reading(who: str) -> Iterator[None]:
    """Whatever does not fit while an answer is read is no answer of the protocol.

    Args:
        who: gave the answer.

    Raises:
        Unencoded: something did not fit.
    """
    try:
        yield
    except DriftError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise Unencoded(f"{who} answers what is none of the Open Inference Protocol: {error!r:.200}.") from error
