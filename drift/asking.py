"""Encoders are asked here, over HTTP by the Open Inference Protocol: rows go out in batches, embeddings come back.

Time, bytes and requests under way are bounded for all encoders together. Requests to the installation's own gateway are
marked synthetic, so that they are no samples and enter no verdict. An encoder that does not answer is `Unencoded`, and
whoever asked decides when to ask again. One that fails on some rows is asked about them by halves, until the row is
found that it fails on. That row is to blame, and has no embedding, if the encoder answers another one right then: one
that it answered before, or zeros. Where it never answered any, and refuses zeros too, nobody can tell: it does not
answer, until the same row was refused so often that it is counted as missing, for others wait behind it.

The room's one file that knows HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from drift.encoding import MOST_AT_ONCE, TEXT, Embedding, Encoder, check_output, sent, zeros
from drift.errors import DriftError, Unencoded, Unfit
from drift.samples import Tensor, tensor_of

_LOG: Final = logging.getLogger(__name__)

AT_ONCE: Final = 4
"""Requests under way, of all encoders together."""
TIMEOUT_S: Final = 20.0
"""How long one answer may take."""

_MOST_SAID: Final = 1_048_576
"""Bytes of an answer beside its embeddings."""
_REQUEST_BYTES: Final = 8 * 1024 * 1024
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_BINARY: Final = "binary_tensor_data"
_LENGTH: Final = "inference-header-content-length"
_REFUSED: Final = frozenset({400, 413, 415, 422, 500})
"""What an encoder may answer because of the very rows that it was asked about."""
_UNKNOWN: Final = frozenset({401, 403})
_SOON: Final = frozenset({429, 502, 503, 504})
_ONE_LINE: Final = re.compile(r"[!-~]{1,8192}")

MOST_PASSES: Final = 10
"""In which a row may be refused while nothing tells whether it is to blame; some three minutes of `inbox.PAUSES_S`."""
_MOST_ENCODERS: Final = 256
_MOST_DOUBTED: Final = 1_024

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


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


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to have encoded, before the encoder has been asked what it is.

    Attributes:
        of: the input of the watched model.
        shape: of one row of it.
        model: that encodes.
        version: of it; None for the one that there is.
        server: where, as `Encoder.server`.
        takes: its input; None for the one that there is.
        gives: its output; likewise.
    """

    of: str
    shape: tuple[int, ...]
    model: str
    version: int | None = None
    server: str = ""
    takes: str | None = None
    gives: str | None = None


class _Refused(Exception):  # noqa: N818 - no error: it may be the rows
    """The encoder was reached, and says no to these rows."""


@dataclass(slots=True)
class _Pass:
    """One time that rows are encoded.

    Attributes:
        refused: rows that have no embedding though they were sent.
        said: why.
        out: the embeddings so far.
    """

    refused: int = 0
    said: str = ""
    out: Embedding = field(default_factory=lambda: np.empty((0, 0), np.float32))


class Encoders:
    """All that may be asked; an async context manager.

    Args:
        servers: by name; the installation's own gateway under the empty one.
        at_once: requests under way.
        timeout_s: how long one answer may take.
    """

    def __init__(
        self, servers: Mapping[str, Server], *, at_once: int = AT_ONCE, timeout_s: float = TIMEOUT_S
    ) -> None:  # fmt: skip
        self._servers = dict(servers)
        self._room = asyncio.Semaphore(at_once)
        self._timeout_s = timeout_s
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._answered: dict[Encoder, NDArray[Any]] = {}  # a row of each
        self._doubted: dict[tuple[Encoder, bytes], int] = {}  # passes that failed on a row

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def rows(self, encoder: Encoder, values: NDArray[Any]) -> Embedding:
        """The embeddings of these rows; NaN for those that lack a value or that the encoder refuses.

        Args:
            encoder: that is asked.
            values: shape (rows, *encoder.shape).

        Raises:
            Unencoded: it does not answer, or not as declared. Some may have been encoded; all are asked again then.
        """
        rows, places = sent(encoder, values)
        found = _Pass(out=np.full((len(values), encoder.width), np.nan, np.float32))
        size = _rows_at_once(encoder, rows)
        parts = iter([places[at : at + size] for at in range(0, len(places), size)])

        async def take() -> None:
            for at in parts:
                await self._part(encoder, rows, at, found)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(take())
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        if found.refused:
            _LOG.warning("%s refuses %d of %d rows: %s", encoder, found.refused, len(places), found.said)
        return found.out

    async def described(self, asked: Asked) -> Encoder:
        """What that encoder is, as its server describes it.

        Raises:
            Unencoded: there is no such encoder, or its server does not answer.
            Unfit: it is none for such rows, or there are several and none is named.
        """
        version = asked.version or _only_version(await self._said(asked, f"/v2/models/{quote(asked.model, safe='')}"))
        at = f"/v2/models/{quote(asked.model, safe='')}/versions/{version}"
        said = await self._said(asked, at)
        with _reading(asked):
            extensions = (await self._said(asked, "/v2")).get("extensions", [])
            takes, gives = _one(said["inputs"], asked.takes, "input"), _one(said["outputs"], asked.gives, "output")
            most = await self._most(asked, f"{at}/config")
            batched, shape = _row_of(takes, asked.shape, most)
            width = _width(gives, batched=batched)
        encoder = Encoder(
            asked.of, asked.shape, asked.model, version, asked.server, takes["name"], takes["datatype"], shape,
            gives["name"], width or 1, max(1, min(most or MOST_AT_ONCE, MOST_AT_ONCE)) if batched else 1, batched,
            _BINARY in extensions,
        )  # fmt: skip
        return encoder if width else await self._measured(encoder)

    async def _measured(self, encoder: Encoder) -> Encoder:
        """With the width that an answer has, where its description leaves that open."""
        try:
            datatype, shape, _ = await self._answer(encoder, zeros(encoder))
        except _Refused as error:
            raise Unencoded(f"{encoder} does not say how wide {encoder.gives} is, and refuses zeros: {error}") from None
        made = Encoder(**{**encoder.plain(), "width": math.prod(shape)})
        check_output(made, datatype, shape, 1)
        return made

    async def _most(self, asked: Asked, path: str) -> int | None:
        """Rows that one request may have: Triton's configuration says so, and other servers have none."""
        try:
            return int((await self._said(asked, path))["max_batch_size"])
        except (Unencoded, KeyError, TypeError, ValueError):
            return None

    async def _part(self, encoder: Encoder, rows: NDArray[Any], at: NDArray[np.intp], found: _Pass) -> None:
        try:
            datatype, shape, values = await self._answer(encoder, rows[at])
            check_output(encoder, datatype, shape, len(at))
        except Unfit as error:
            raise Unencoded(error.sentence) from error
        except _Refused as error:
            if len(at) == 1:
                await self._blame(encoder, rows[at], error)
                found.refused, found.said = found.refused + 1, str(error)
                return
            half = len(at) // 2
            await self._part(encoder, rows, at[:half], found)
            await self._part(encoder, rows, at[half:], found)
            return
        self._know(encoder, rows[at[:1]])
        found.out[at] = values.reshape(len(at), encoder.width)

    async def _blame(self, encoder: Encoder, row: NDArray[Any], refusal: _Refused) -> None:
        """Passes where it is the row: a crashed encoder refuses all of them, at any moment, and none is to blame."""
        known = self._answered.get(encoder)
        probe = zeros(encoder) if known is None else known
        try:
            await self._answer(encoder, probe)
        except _Refused:
            if known is None and encoder in self._answered:  # meanwhile, some other row
                await self._blame(encoder, row, refusal)
            elif known is not None or not self._is_given_up(encoder, row):
                raise Unencoded(f"{encoder} answers nothing: {refusal}") from None
        else:
            self._know(encoder, probe)

    def _is_given_up(self, encoder: Encoder, row: NDArray[Any]) -> bool:
        """Whether that row was refused often enough, this time counted."""
        doubted = encoder, hashlib.sha256(tensor_of(encoder.takes, encoder.datatype, row).data).digest()
        passes = self._doubted.pop(doubted, 0) + 1
        _put(self._doubted, doubted, passes, _MOST_DOUBTED)
        return passes >= MOST_PASSES

    def _know(self, encoder: Encoder, row: NDArray[Any]) -> None:
        """That it answers this row."""
        self._answered.pop(encoder, None)
        _put(self._answered, encoder, row, _MOST_ENCODERS)

    async def _answer(self, encoder: Encoder, rows: NDArray[Any]) -> tuple[str, tuple[int, ...], NDArray[np.float32]]:
        """Datatype, shape and values of its output."""
        head, body, length = _request(encoder, rows)
        path = f"/v2/models/{quote(encoder.model, safe='')}/versions/{encoder.version}/infer"
        said = {"content-type": "application/octet-stream" if length else "application/json"}
        if length:
            said[_LENGTH] = str(length)
        most = _MOST_SAID + 32 * encoder.width * len(rows)
        async with self._asked(encoder.server, "POST", path, content=head + body, headers=said) as answer:
            raw = await _read(answer, most, str(encoder))
        _look(answer, raw, str(encoder))
        with _reading(encoder):
            return _output(encoder, raw, answer.headers.get(_LENGTH))

    async def _said(self, asked: Asked, path: str) -> dict[str, Any]:
        """What is said there, as JSON."""
        about = f"{asked.model}{f' at {asked.server}' if asked.server else ''}"
        async with self._asked(asked.server, "GET", path) as answer:
            raw = await _read(answer, _MOST_SAID, about)
        try:
            _look(answer, raw, about)
        except _Refused as error:
            raise Unencoded(f"{about} does not say what it is: {error}") from None
        with _reading(asked):
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


def _put(kept: dict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    """As the newest of so many."""
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]


def _nowhere(server: str) -> tuple[str, str]:
    if server:
        return f"No encoder server {server} is named among drift.encoders.", "Name it in the settings, with its url."
    return "Nobody has said where the gateway is.", "Say it as drift.sidecar.gateway_url."


def _place(server: str) -> str:
    return f"The encoders' server {server}" if server else "The gateway"


def _rows_at_once(encoder: Encoder, rows: NDArray[Any]) -> int:
    """As many as it takes, and as fit into a request of a bounded size."""
    each = max(1, rows.itemsize * math.prod(encoder.takes_shape) * (1 if encoder.binary else 4))
    return max(1, min(encoder.rows_at_once, _REQUEST_BYTES // each))


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


def _output(encoder: Encoder, raw: bytes, length: str | None) -> tuple[str, tuple[int, ...], NDArray[np.float32]]:
    end = len(raw) if length is None else int(length)
    said = json.loads(raw[:end])
    at = end
    for one in said["outputs"]:
        size = int(one.get("parameters", {}).get("binary_data_size", 0))
        if one["name"] == encoder.gives:
            shape, datatype = tuple(map(int, one["shape"])), str(one["datatype"])
            if "data" in one:
                return datatype, shape, np.array(one["data"], np.float32)
            return (
                datatype,
                shape,
                Tensor(encoder.gives, datatype, shape, raw[at : at + size]).values().astype(np.float32),
            )
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
        _Refused: it may be the rows.
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
        raise _Refused(f"{status}, {words}")
    raise Unencoded(f"{who} does not answer{' for now' if status in _SOON else ''} ({status}): {words}")


def _words(raw: bytes) -> str:
    """The sentence of an answer that is an error, as far as it is fit to be shown."""
    try:
        text = str(json.loads(raw)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "it does not say why."
    return "".join(one for one in text[:300] if one.isprintable())


@contextmanager
def _reading(about: object) -> Iterator[None]:
    """Whatever does not fit while an answer is read is no answer of the protocol."""
    try:
        yield
    except DriftError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        who = f"{about.model} at {_place(about.server)}" if isinstance(about, Asked) else str(about)
        raise Unencoded(f"{who} answers what is none of the Open Inference Protocol: {error!r:.200}.") from error


def _only_version(said: Mapping[str, Any]) -> int:
    found = [str(one) for one in said.get("versions", ())]
    if len(found) == 1 and found[0].isascii() and found[0].isdigit():
        return int(found[0])
    there = f"it has {', '.join(found[:20])}" if found else "it does not say which it has"
    raise Unfit("The encoder's version must be named, for embeddings of two are not alike.", f"Of versions {there}.")


def _one(said: Sequence[Mapping[str, Any]], name: str | None, what: str) -> Mapping[str, Any]:
    """The tensor of that name, or the only one."""
    names = [str(one["name"]) for one in said]
    if name is None and len(names) != 1:
        raise Unfit(f"The encoder has the {what}s {', '.join(names[:20])}.", f"Name one as --encoder-{what}.")
    if name is not None and name not in names:
        raise Unfit(f"The encoder has no {what} {name}.", f"It has {', '.join(names[:20])}.")
    return said[0 if name is None else names.index(name)]


def _row_of(tensor: Mapping[str, Any], shape: tuple[int, ...], most: int | None) -> tuple[bool, tuple[int, ...]]:
    """Whether its first axis is the row, and the shape of one row as it takes it."""
    dims = tuple(map(int, tensor["shape"]))
    batched = (most > 0) if most is not None else dims[:1] == (-1,)
    row = dims[1:] if batched else dims
    if len(row) == len(shape) and all(one in (-1, size) for one, size in zip(row, shape, strict=True)):
        return batched, shape
    if math.prod(row) == math.prod(shape) and min(row, default=1) > 0:
        return batched, row
    if not batched and dims[:1] == (-1,) and len(dims) == len(shape) + 1:  # a model that knows no batches, of rows
        return True, shape
    raise Unfit(f"The encoder takes {tensor['name']} in the shape {list(dims)}, and rows have {list(shape)}.")


def _width(tensor: Mapping[str, Any], *, batched: bool) -> int | None:
    """Numbers of one row of an output; None where its description leaves that open."""
    dims = tuple(map(int, tensor["shape"]))
    row = dims[1:] if batched else dims
    return math.prod(row) if min(row, default=1) > 0 else None
