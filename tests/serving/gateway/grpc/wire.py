"""A client that speaks HTTP/2 by hand, for what grpcio never does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self

from serving.gateway.h2.fields import encode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INFER = b"/inference.GRPCInferenceService/ModelInfer"
HEAD = (
    (b":method", b"POST"), (b":scheme", b"http"), (b":path", INFER), (b":authority", b"x"), (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
)  # fmt: skip
ANSWER = ((b":status", b"200"), (b"content-type", b"application/grpc"))
SETTINGS, RST_STREAM, HEADERS, DATA = 4, 3, 1, 0
_INTERNAL_ERROR = (2).to_bytes(4, "big")
END_HEADERS, END_STREAM = 4, 1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


@dataclass
class Half:
    """A connection with one call that is not complete."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def begin(
        cls, port: int, *, announced: int = 0, sent: int = 0, head: tuple[tuple[bytes, bytes], ...] = HEAD
    ) -> Self:
        """The head, and so much of a message that was to be longer."""
        half = cls(*await asyncio.open_connection("127.0.0.1", port))
        body = b"\0" + announced.to_bytes(4, "big") + bytes(sent)
        half.writer.write(
            PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, encode(head)) + frame(DATA, 0, 1, body)
        )
        return half

    async def rest(self, until: bytes = b"grpc-message") -> bytes:
        """What comes, up to and with the frame that has this in it."""
        came = b""
        async with asyncio.timeout(10):
            while until not in came:
                data = await self.reader.read(65_536)
                if not data:
                    break
                came += data
        return came

    def give_up(self, code: int) -> None:
        """RST_STREAM, for this reason."""
        self.writer.write(frame(RST_STREAM, 0, 1, code.to_bytes(4, "big")))

    async def close(self) -> None:
        """Goes away."""
        self.writer.close()
        await self.writer.wait_closed()


class Mortal:
    """A server that breaks off as soon as a message says `deadly`.

    Args:
        says: of its answer, before it gives up the call alone; where that is nothing, the connection ends.

    Attributes:
        died: how often.
    """

    def __init__(self, says: bytes = b"") -> None:
        self._says = says
        self.died = 0
        self.port = 0
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(SETTINGS, 0, 0))
        came = b""
        while data := await reader.read(65_536):
            came += data
            if b"deadly" in came:
                self.died += 1
                if self._says:
                    begun = frame(HEADERS, END_HEADERS, 1, encode(ANSWER)) + frame(DATA, 0, 1, self._says)
                    writer.write(begun + frame(RST_STREAM, 0, 1, _INTERNAL_ERROR))
                    came = b""
                    continue
                break
        writer.transport.abort()
