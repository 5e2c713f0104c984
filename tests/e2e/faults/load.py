"""Load over many connections at once, every answer looked at: what a client sees while things break."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

CONNECTIONS = 32
_PATIENCE_S = 15.0


@dataclass
class Seen:
    """What the clients got.

    Attributes:
        answers: how many, by (status, version, reason).
        errors: what was no 200, in words.
        lost: connections that broke under a request.
    """

    answers: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    lost: int = 0
    began_s: float = field(default_factory=time.monotonic)

    @property
    def rate(self) -> float:
        """Answers per second so far."""
        return self.answers.total() / (time.monotonic() - self.began_s)

    def count(self, *, version: str = "", reason: str = "") -> int:
        """Answers of this version, or for this reason."""
        return sum(n for (_, v, r), n in self.answers.items() if version in {"", v} and reason in {"", r})


@contextlib.asynccontextmanager
async def load(port: int, model: str, body: bytes, connections: int = CONNECTIONS) -> AsyncIterator[Seen]:
    """Requests without a pause on each of the connections, until the block ends."""
    seen = Seen()
    over = asyncio.Event()
    tasks = [asyncio.create_task(_beat(port, _head(model, number, len(body)) + body, seen, over))
             for number in range(connections)]  # fmt: skip
    try:
        yield seen
    finally:
        over.set()
        await asyncio.gather(*tasks)


def _head(model: str, number: int, length: int) -> bytes:
    return (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n"
        f"X-Client: {number}\r\n\r\n"
    ).encode()


async def _beat(port: int, request: bytes, seen: Seen, over: asyncio.Event) -> None:
    while not over.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            seen.lost += 1
            await asyncio.sleep(0.05)
            continue
        try:
            async with asyncio.timeout(None) as patience:
                while not over.is_set():
                    patience.reschedule(asyncio.get_running_loop().time() + _PATIENCE_S)
                    writer.write(request)
                    await _note(reader, seen)
        except TimeoutError:
            seen.errors.append(f"no answer within {_PATIENCE_S:g} s")
        except (OSError, asyncio.IncompleteReadError):
            seen.lost += 1
        finally:
            writer.close()


async def _note(reader: asyncio.StreamReader, seen: Seen) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    headers = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if b": " in line)
    body = await reader.readexactly(int(headers[b"content-length"]))
    version, reason = (headers.get(name, b"").decode() for name in (b"sluice-version", b"sluice-reason"))
    seen.answers[status, version, reason] += 1
    if status != 200:
        seen.errors.append(f"{status}: {body.decode(errors='replace')}")
