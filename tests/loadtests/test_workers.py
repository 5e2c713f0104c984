"""A connection to each worker: found by who holds its other end, opened anew when it was hung up on."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from loadtests.access.workers import Workers
from loadtests.installation import Failed

_SERVER = """
import asyncio, socket, sys
async def serve(reader, writer):
    while head := await reader.readuntil(b"\\r\\n\\r\\n"):
        good = b"good" in head
        writer.write(b"HTTP/1.1 %d X\\r\\nContent-Length: 2\\r\\n\\r\\nok" % (200 if good else 401))
        if not good:
            writer.close()
            return
async def main():
    listener = socket.socket(fileno=int(sys.argv[1]))
    await (await asyncio.start_server(serve, sock=listener)).serve_forever()
asyncio.run(main())
"""


@contextmanager
def _workers(count: int) -> Iterator[tuple[int, frozenset[int]]]:
    """So many processes that share a port: it, and their ids."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            descriptor, port = listener.fileno(), listener.getsockname()[1]
            for _ in range(count):
                command = [sys.executable, "-c", _SERVER, str(descriptor)]
                started.append(
                    subprocess.Popen(command, pass_fds=[descriptor], stderr=subprocess.DEVNULL, start_new_session=True)
                )
            yield port, frozenset(one.pid for one in started)
    finally:
        for one in started:
            one.kill()
            one.wait()


def _request(shown: str) -> bytes:
    return f"GET / HTTP/1.1\r\nauthorization: {shown}\r\n\r\n".encode()


async def test_each_worker_is_asked_and_refusals_are_told_apart() -> None:
    """Two processes behind one port: both answer, and after a refusal that closes there is a new connection."""
    with _workers(2) as (port, pids):
        workers = Workers("127.0.0.1", port, _request, "good", 2)
        assert dict(await workers.ask_each("good")) == dict.fromkeys(pids, 200)
        assert dict(await workers.ask_each("other")) == dict.fromkeys(pids, 401)
        assert dict(await workers.ask_each("good")) == dict.fromkeys(pids, 200)
        await workers.close()


async def test_a_worker_that_no_connection_reaches_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proof on two gateways that says three would be none."""
    monkeypatch.setattr("loadtests.access.workers._WITHIN_S", 1.0)
    with _workers(1) as (port, _):
        workers = Workers("127.0.0.1", port, _request, "good", 2)
        with pytest.raises(Failed, match="reach 1 of 2 gateway workers"):
            await workers.ready()
        await workers.close()


async def test_a_good_key_that_is_refused_is_an_error() -> None:
    """Nothing that follows could be believed."""
    with _workers(1) as (port, _):
        workers = Workers("127.0.0.1", port, _request, "bad", 1)
        with pytest.raises(Failed, match="refuses a key that is good"):
            await workers.ready()
        await workers.close()
