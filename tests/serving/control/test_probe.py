"""Somebody else's Triton is ready when it says so of itself and of the version, and in no other case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.control.probe import TritonProbe
from serving.endpoint import Endpoint
from tests.serving.certificates import Authority


class FakeTriton:
    """Answers readiness as it is told; remembers what it was asked."""

    def __init__(self) -> None:
        self.refuses = ""
        self.silent = False
        self.asked: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                path = request.split()[1].decode()
                self.asked.append(path)
                if self.silent:
                    await asyncio.sleep(60)
                status = b"400 Bad Request" if path == self.refuses else b"200 OK"
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def triton() -> AsyncIterator[tuple[FakeTriton, Endpoint]]:
    """A server that is ready, and where it is."""
    fake = FakeTriton()
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(fake.answer(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield fake, Endpoint(host="127.0.0.1", http_port=port, grpc_port=0, model="digits", version=2)
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def probe() -> AsyncIterator[TritonProbe]:
    """A probe without patience."""
    probe = TritonProbe(timeout_s=0.2)
    yield probe
    await probe.close()


async def test_a_server_is_asked_for_itself_and_for_the_version(
    probe: TritonProbe, triton: tuple[FakeTriton, Endpoint]
) -> None:
    """Another version on a port that was used before is not taken for ours."""
    fake, endpoint = triton
    assert await probe(endpoint)
    assert fake.asked == ["/v2/health/ready", "/v2/models/digits/versions/2/ready"]


@pytest.mark.parametrize("refuses", ["/v2/health/ready", "/v2/models/digits/versions/2/ready"])
async def test_either_no_is_a_no(probe: TritonProbe, triton: tuple[FakeTriton, Endpoint], refuses: str) -> None:
    """A server without the version, and one that is going down, get no traffic."""
    fake, endpoint = triton
    fake.refuses = refuses
    assert not await probe(endpoint)


async def test_silence_is_a_no(probe: TritonProbe, triton: tuple[FakeTriton, Endpoint]) -> None:
    """A server that hangs is not ready, and neither is one that is not there; later answers count again."""
    fake, endpoint = triton
    fake.silent = True
    assert not await probe(endpoint)
    fake.silent = False
    assert await probe(endpoint)
    assert not await probe(Endpoint(host="127.0.0.1", http_port=1, grpc_port=0, model="digits", version=2))


async def test_an_encrypted_server_is_asked_if_it_is_who_it_says(tmp_path: Path) -> None:
    """The certificate is checked against the file that is named; a stranger's is a no."""
    files = Authority(tmp_path).issue()
    (tmp_path / "elsewhere").mkdir()
    stranger = Authority(tmp_path / "elsewhere").issue()
    for shown, ready in ((files, True), (stranger, False)):
        fake = FakeTriton()
        server = await asyncio.start_server(fake.answer, "127.0.0.1", 0, ssl=shown.server().context)
        port = server.sockets[0].getsockname()[1]
        asked = Endpoint("127.0.0.1", port, 0, "digits", 2, tls=True)
        probe = TritonProbe(2.0, str(files.authority))
        assert await probe(asked) is ready
        assert not await probe(Endpoint("127.0.0.1", port, 0, "digits", 2))
        assert bool(fake.asked) is ready
        await probe.close()
        server.close()
