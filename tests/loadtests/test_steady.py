"""The steady stream: it keeps its rate, counts from when a request was due, and takes nothing for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from loadtests import steady
from loadtests.steady import Answer, Steady

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Who: me\r\n\r\nhi"


def request(number: int) -> bytes:
    """A request that says its number."""
    return f"GET /{number} HTTP/1.1\r\nhost: h\r\n\r\n".encode()


@asynccontextmanager
async def server(answering: Answering) -> AsyncIterator[int]:
    """A server on a free port; it is over when its last connection is."""
    talking: set[asyncio.Task[None] | None] = set()

    async def until_it_ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(asyncio.current_task())
        with suppress(OSError, asyncio.IncompleteReadError):
            await answering(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    listening = await asyncio.start_server(until_it_ends, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]
    await asyncio.gather(*(task for task in talking if task))


async def heard(answering: Answering, rate: float, for_s: float, connections: int = 64) -> list[Answer]:
    """What became of the requests of so many seconds."""
    answers: list[Answer] = []
    async with server(answering) as port:
        async with Steady("127.0.0.1", port, rate, request, answers.append, connections=connections):
            await asyncio.sleep(for_s)
        return answers


async def always(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request."""
    while await reader.readline():
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)


async def test_every_request_is_asked_and_answered_once() -> None:
    """All numbers from 0, each with its answer, as many as the rate says."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    answers = await heard(always, rate=400, for_s=0.5)
    most = 400 * (loop.time() - began) + 1
    assert sorted(answer.number for answer in answers) == list(range(len(answers)))
    assert {(answer.status, answer.body, answer.headers["x-who"]) for answer in answers} == {(200, b"hi", "me")}
    assert 190 <= len(answers) <= most


async def test_a_stall_is_seen_by_all_that_were_due_in_it() -> None:
    """One connection, and a server that sleeps once: those that had to wait for it say so."""
    stalled = False

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal stalled
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            if not stalled:
                stalled = True
                await asyncio.sleep(0.5)
            writer.write(OK)

    answers = await heard(once, rate=200, for_s=0.6, connections=1)
    slow = [answer for answer in answers if answer.took_s > 0.25]
    assert len(slow) >= 40  # a quarter of a second's worth of those that were due, not only the one that was in flight


async def test_a_connection_that_is_closed_after_its_answer_costs_nothing() -> None:
    """`Connection: close` is no failure: the next request takes another."""

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK.replace(b"X-Who: me", b"Connection: close\r\nX-Who: me"))

    answers = await heard(closing, rate=200, for_s=0.3)
    assert {answer.status for answer in answers} == {200}


async def test_what_is_no_answer_is_a_failure() -> None:
    """A connection that is lost, a refused one, an answer that is no HTTP, and one that does not come."""

    async def losing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async def babbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"what?\r\n\r\n")

    for answering, words in ((losing, "was lost"), (babbling, "no HTTP")):
        answers = await heard(answering, rate=100, for_s=0.2)
        assert answers
        assert all(answer.status == 0 and words in answer.error for answer in answers)


async def test_a_connection_that_is_there_too_late_is_closed_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one has answered everything before the others are made: none of them stays open at the end."""
    loop = asyncio.get_running_loop()
    connect, asked = loop.create_connection, 0

    async def late(*given: Any) -> Any:  # noqa: ANN401 - as the loop has it
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.3 if asked > 1 else 0)
        return await connect(*given)

    monkeypatch.setattr(loop, "create_connection", late)
    async with asyncio.timeout(30):
        answers = await heard(always, rate=2_000, for_s=0.05)
    assert asked > 1
    assert {answer.status for answer in answers} == {200}


async def test_nobody_there_is_a_failure_of_each_request() -> None:
    """And the block ends all the same."""
    async with server(always) as port:
        pass
    answers: list[Answer] = []
    async with Steady("127.0.0.1", port, 100, request, answers.append):
        await asyncio.sleep(0.2)
    assert answers
    assert all(answer.status == 0 and "not connected" in answer.error for answer in answers)


async def test_an_answer_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time-out the request has failed, and the block ends."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    monkeypatch.setattr(steady, "TIMEOUT_S", 0.2)
    answers = await asyncio.wait_for(heard(silent, rate=50, for_s=0.1), 10)
    assert answers
    assert all(answer.status == 0 and "no answer within" in answer.error for answer in answers)


async def test_requests_that_wait_for_a_connection_get_another() -> None:
    """A server that aborts each connection, and fewer connections than requests: all fail, and the block ends."""

    async def losing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.transport.abort()

    answers = await asyncio.wait_for(heard(losing, rate=200, for_s=0.2, connections=2), 10)
    assert len(answers) >= 30
    assert {answer.status for answer in answers} == {0}
