"""A constant load of one small request on several connections, and how long each answer took from when it was due."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

HOST: Final = "127.0.0.1"
_CONNECTIONS: Final = 8
_PATIENCE_S: Final = 5.0
_NUMBERS: Final = [0.5] * 8
_WELL: Final = b" 200 "


class Took(NamedTuple):
    """What a stretch of load came to.

    Attributes:
        answered_s: how long each good answer took, seconds, ascending.
        failed: requests that got another answer, or none.
    """

    answered_s: Sequence[float]
    failed: int

    @property
    def p99_s(self) -> float:
        """The 99th percentile; 0 where nothing was answered."""
        return self.answered_s[len(self.answered_s) * 99 // 100] if self.answered_s else 0.0


def request(model: str) -> bytes:
    """An inference whose answer comes back in the binary extension, however long it is."""
    tensor = {"name": "x", "shape": [len(_NUMBERS)], "datatype": "FP32", "data": _NUMBERS}
    body = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    lines = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
    return f"{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def load(port: int, asked: bytes, rate: float, seconds: float) -> Took:
    """So many requests per second for so long; one that is late to begin counts as slow, for its client waited."""
    begin, count = time.perf_counter() + 0.05, int(rate * seconds)
    due = iter([begin + nth / rate for nth in range(count)])
    answered: list[float] = []
    failed = [0]

    async def client() -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for at in due:
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    connection = connection or await asyncio.open_connection(HOST, port)
                    good = await _asked(*connection, asked)
            except (OSError, asyncio.IncompleteReadError):
                good, connection = False, None
            if good:
                answered.append(time.perf_counter() - at)
            else:
                failed[0] += 1
        if connection is not None:
            connection[1].close()

    await asyncio.gather(*(client() for _ in range(_CONNECTIONS)))
    return Took(sorted(answered), failed[0])


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytes) -> bool:
    writer.write(asked)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    await reader.readexactly(length)
    return _WELL in head.split(b"\r\n", 1)[0]
