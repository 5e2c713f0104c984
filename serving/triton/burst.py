"""How many requests a second a server answers when as many are under way as it works on at once: a short closed loop.

It is what one server can carry, as far as this machine can send it: the sender shares the machine with the server, so
the figure is a lower bound, and the more so the cheaper the model is. The request is the same each time, so a server
that answers from a cache would be measured by its cache.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LASTS_S = 0.5
MOST_AT_ONCE = 64
_AFTER_REFUSAL_S = 0.01
_CONNECT_S = 2.0
_OK = 200

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request that is sent over and over.

    Attributes:
        host: where to.
        port: the server's HTTP port.
        path: of the URL.
        body: what is posted.
        headers: beside host and length.
    """

    host: str
    port: int
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """As it goes over the connection."""
        lines = [f"POST {self.path} HTTP/1.1", f"Host: {self.host}:{self.port}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


async def burst(request: Request, at_once: int, lasts_s: float = LASTS_S) -> float:
    """Answers with status 200 per second, sent by so many clients of which each waits for its answer.

    Those that get no connection in time are none.
    """
    connections: list[_Connection] = []
    raw = request.encode()
    try:
        await asyncio.gather(*(_connect(request, connections) for _ in range(at_once)), return_exceptions=True)
        answered = [0] * len(connections)
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(lasts_s):
                loops = (_loop(*pair, raw, answered, number) for number, pair in enumerate(connections))
                await asyncio.gather(*loops, return_exceptions=True)
    finally:
        _close(writer for _, writer in connections)
    return sum(answered) / (time.monotonic() - began)


async def _connect(request: Request, connections: list[_Connection]) -> None:
    """Adds a connection, if the server takes it in time."""
    async with asyncio.timeout(_CONNECT_S):
        connections.append(await asyncio.open_connection(request.host, request.port))


async def _loop(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes, answered: list[int], number: int
) -> None:
    """One client, until it is cancelled or its connection ends."""
    while True:
        writer.write(raw)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(_length_in(head))
        if int(head.split(None, 2)[1]) == _OK:
            answered[number] += 1
        else:
            await asyncio.sleep(_AFTER_REFUSAL_S)


def _length_in(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    raise ValueError("an answer without a length")


def _close(writers: Iterable[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.transport.abort()
