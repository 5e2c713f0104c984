"""Redis over TLS: control room, registry and gateway speak to it encrypted, and to nobody who is not it.

The embedded server speaks in the clear, so a relay of a few lines ends TLS in front of it, as a proxy would.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from registry.errors import StoreUnavailable as RegistryUnavailable
from registry.store import connect as connect_registry
from serving.control.errors import StoreUnavailable
from serving.control.store import connect
from serving.control.valkey import EmbeddedValkey
from serving.gateway.config import WorkerConfig
from serving.gateway.policies import Follower
from serving.gateway.worker import Worker
from serving.settings import RedisSettings
from tests.serving.certificates import Authority, Files
from tests.valkey import valkey

__all__ = ["valkey"]


class Relay:
    """Ends TLS, asks for a client's certificate, and passes everything on."""

    def __init__(self, target: int, files: Files) -> None:
        self._target = target
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files.certificate, files.key)
        self._context.load_verify_locations(files.authority)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self.port = 0

    async def serve(self) -> asyncio.Server:
        """Listens."""
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        ways = [asyncio.create_task(_copy(reader, back)), asyncio.create_task(_copy(there, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        back.close()
        writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Of the server, and of its clients."""
    return Authority(tmp_path).issue()


@pytest.fixture
async def url(valkey: EmbeddedValkey, files: Files) -> AsyncIterator[str]:
    """Of the server, over TLS."""
    relay = Relay(valkey.port, files)
    server = await relay.serve()
    yield f"rediss://:{urlsplit(valkey.url).password}@127.0.0.1:{relay.port}/0"
    server.close()


def reached(url: str, files: Files, *, authority: Path | None = None, ours: bool = True) -> str:
    """The address with the files of these settings."""
    pair = {"cert_file": files.certificate, "key_file": files.key} if ours else {}
    settings = RedisSettings.model_validate({"url": url, "ca_file": authority or files.authority, **pair})
    assert str(files.key) not in str(settings.address)
    return settings.reached_at(url)


async def test_all_three_speak_to_it(url: str, files: Files) -> None:
    """The stores of both rooms, and a gateway's follower with its subscription."""
    address, namespace = reached(url, files), secrets.token_hex(6)
    store, registry = connect(address, namespace), connect_registry(address, namespace)
    assert await store.ensure_keys()
    assert await registry.check() == await store.check()
    worker = Worker(WorkerConfig("test", redis_url=address, namespace=namespace), asyncio.get_running_loop())
    follower = Follower(worker, "127.0.0.1", 1)
    await follower.start()
    assert [lease.id for lease in await store.gateways()] == ["test"]
    await follower.stop()
    await store.close()
    await registry.close()


async def test_nobody_else_is_spoken_to(url: str, files: Files, tmp_path: Path) -> None:
    """One of another authority, or one that asks for a certificate that we do not show: a sentence, no password."""
    (tmp_path / "elsewhere").mkdir()
    stranger = Authority(tmp_path / "elsewhere").issue()
    for address in (reached(url, files, authority=stranger.authority), reached(url, files, ours=False)):
        store, registry = connect(address, "test", timeout_s=1.0), connect_registry(address, "test", timeout_s=1.0)
        with pytest.raises(StoreUnavailable) as caught:
            await store.head()
        with pytest.raises(RegistryUnavailable):
            await registry.check()
        assert str(urlsplit(url).password) not in caught.value.sentence
        await store.close()
        await registry.close()
