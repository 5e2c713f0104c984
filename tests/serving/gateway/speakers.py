"""An upstream that streams events as it is told, one after the other, and what a client makes of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

from tests.serving.gateway.rig import Client, Rig, eventually
from tests.serving.gateway.upstream import Connection, Reply, ScriptedUpstream, answers
from tests.serving.gateway.wire import chunks, post

PATH = "/v2/models/m/generate_stream"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
"""As Triton 2.51 begins a stream."""
FAILED = HEAD.replace(b"200 OK", b"400 Bad Request")
"""As it begins one whose first answer is an error."""
END = b"0\r\n\r\n"
LISTENS: Reply = answers(HEAD)
"""Begins a stream and leaves it to the test to go on."""


def token(number: int) -> bytes:
    """An event with a token."""
    return b'data: {"model_name":"m","model_version":"1","text_output":"%d"}\n\n' % number


def failure(sentence: str = "There is no such token.") -> bytes:
    """An event that carries an error, as Triton writes it."""
    return b'data: {"error":"%s"}\n\n' % sentence.encode()


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return chunks(data).removesuffix(END)


def stream(*events: bytes, head: bytes = HEAD) -> Reply:
    """A whole stream, each event in a write of its own."""
    return answers(head, *map(chunk, events), END)


class Speaker:
    """The upstream's side of one stream."""

    def __init__(self, connection: Connection) -> None:
        self.transport = connection.transport

    def say(self, *events: bytes) -> None:
        """More events."""
        self.transport.write(b"".join(map(chunk, events)))

    def end(self) -> None:
        """All was said."""
        self.transport.write(END)

    def leave(self) -> None:
        """Goes away in the middle."""
        self.transport.abort()


async def speaker_of(upstream: ScriptedUpstream, *, after: int = 0) -> Speaker:
    """Whoever answers the latest request there; waits until there were more than so many."""
    await eventually(lambda: len(upstream.requests) > after)
    assert upstream.latest is not None
    return Speaker(upstream.latest)


async def listen(rig: Rig, *, headers: list[str] | None = None, **more: Any) -> Client:  # noqa: ANN401 (of `client`)
    """A client that has asked for a stream."""
    client = await rig.client(**more)
    await client.send(post(PATH, b'{"text_input":"x"}', headers or []))
    return client


async def hears(client: Client, words: bytes) -> None:
    """Waits until it has got these bytes."""
    async with asyncio.timeout(5):
        seen = client.data
        while words not in seen:
            client.data = b""
            seen += await client.some()
        client.data = seen


def streams(rig: Rig) -> Iterator[tuple[tuple[int, str], dict[str, Any]]]:
    """What was counted of streams, by version and role."""
    report: Any = rig.worker.report()
    for series in report["series"]:
        if "streams" in series:
            yield (series["version"], series["role"]), series["streams"]


def ends(rig: Rig) -> dict[tuple[int, str], dict[str, int]]:
    """How streams ended, by version and role."""
    return {of: counted["ended"] for of, counted in streams(rig)}


def events_in(data: bytes) -> list[bytes]:
    """The events of what a client got, chunk framing removed."""
    return re.findall(rb"(?s)data: .*?\n\n", data)
