"""The control room's doors: both listeners ask for the same keys, show the same certificate, and renew it under way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.access.keys import Shown
from serving.access.roles import Role
from serving.control.api import encrypted
from serving.control.entrance import Entrance
from serving.control.fake_store import FakeStore
from serving.control.keys import KeyService, WantedKey
from serving.control.service import ControlService
from serving.errors import StartFailed
from serving.own_keys import OwnKey, make
from serving.settings import Settings
from serving.sockets import url_of
from tests.serving.certificates import Authority, Files, serial_of


async def until(look: Callable[[], Awaitable[bool]], within_s: float = 10.0) -> None:
    """Returns when it is so; fails where it never is."""
    async with asyncio.timeout(within_s):
        while not await look():  # noqa: ASYNC110 - what it looks at sets no event
            await asyncio.sleep(0.02)


@dataclass
class Room:
    """A room whose doors are open."""

    entrance: Entrance
    store: FakeStore
    own: OwnKey
    control: str
    metrics: str
    authority: Files

    def client(self, shown: Shown | None = None, **more: Any) -> httpx.AsyncClient:  # noqa: ANN401 - httpx's
        """That trusts the room's authority; with a key, if given."""
        headers = {} if shown is None else {"authorization": f"Bearer {shown.text}"}
        return httpx.AsyncClient(verify=self.authority.client(), headers=headers, trust_env=False, **more)

    def port(self, url: str) -> int:
        """Of one of the listeners."""
        return httpx.URL(url).port or 0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who has issued the certificate."""
    return Authority(tmp_path)


@pytest.fixture
async def room(authority: Authority, tmp_path: Path) -> AsyncIterator[Room]:
    """One that asks for keys, encrypted."""
    files = authority.issue()
    settings = Settings.model_validate(
        {
            "state_dir": tmp_path / "state",
            "access": {"required": True},
            "tls": {"certificate": files.certificate, "key": files.key, "reload_s": 0.01},
        }
    )
    store, own = FakeStore(), make("test", Role.OPERATE, 0)
    entrance = Entrance(settings, store, [own.record])
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    await entrance.open(ControlService(store), None, *listeners)
    control, metrics = (url_of(listener, tls=True) for listener in listeners)
    yield Room(entrance, store, own, control, metrics, files)
    assert not [task for task in entrance.tasks if task.done()]
    await entrance.close()


async def test_both_listeners_ask_for_a_key(room: Room) -> None:
    """The installation's own will do; health is open; what was refused is in the log and among the figures."""
    async with room.client() as stranger, room.client(room.own.shown) as known:
        assert (await stranger.get(f"{room.control}/healthz")).status_code == 200
        for url in (f"{room.control}/api/v1/status", f"{room.metrics}/metrics"):
            assert (await stranger.get(url)).status_code == 401
            assert (await known.get(url)).status_code == 200
        assert (await known.get(f"{room.control}/api/v1/keys")).status_code == 403
        figures = (await known.get(f"{room.metrics}/metrics")).text
    assert 'sluice_refused_attempts_total{door="metrics",kind="missing"} 1.0' in figures
    assert "sluice_certificate_expiry_timestamp_seconds" in figures
    log = room.entrance._settings.security_log
    assert [line.split('"door": "')[1].split('"')[0] for line in log.read_text().splitlines()] == [
        "control",
        "metrics",
        "control",
    ]
    assert room.own.shown.secret not in log.read_text()


async def test_keys_are_known_and_forgotten_at_both(room: Room) -> None:
    """Soon after they were made and taken back, without a restart."""
    keys = KeyService(room.store)
    made = await keys.create(WantedKey("prometheus", Role.OPERATE), who="test", wait_s=0)
    async with room.client(made.shown) as client:

        async def answers(code: int) -> bool:
            return (await client.get(f"{room.metrics}/metrics")).status_code == code

        await until(lambda: answers(200))
        assert (await client.get(f"{room.control}/api/v1/whoami")).json()["name"] == "prometheus"
        await keys.revoke(made.record.id, who="test", wait_s=0)
        await until(lambda: answers(401))
        assert (await client.get(f"{room.control}/api/v1/whoami")).status_code == 401


async def _load(room: Room, url: str, answered: Counter[str], over: asyncio.Event) -> None:
    """Counts the answers that come on one connection, all of them good."""
    async with room.client(room.own.shown, limits=httpx.Limits(max_connections=1)) as client:
        connections = set()
        while not over.is_set():
            answer = await client.get(url)
            assert answer.status_code == 200
            connections.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
            answered[url] += 1
        assert len(connections) == 1, "the connection was not kept"


async def _shown(room: Room, url: str) -> str:
    _, writer = await asyncio.open_connection("127.0.0.1", room.port(url), ssl=room.authority.client())
    serial = serial_of(writer.get_extra_info("ssl_object"))
    writer.close()
    return serial


async def test_a_new_certificate_drops_nobody(room: Room, authority: Authority) -> None:
    """Connections under load go on while the files are broken and replaced, and new ones see the new certificate."""
    over, answered = asyncio.Event(), Counter[str]()
    urls = [f"{room.control}/healthz", f"{room.control}/api/v1/status", f"{room.metrics}/metrics"]
    loads = [asyncio.create_task(_load(room, url, answered, over)) for url in urls]
    serials = [await _shown(room, room.control)]
    for _ in range(3):
        room.authority.certificate.write_text("half of one")
        await asyncio.sleep(0.05)
        assert await _shown(room, room.metrics) == serials[-1]
        authority.issue()
        await until(lambda: _is_new(room, serials[-1]))
        serials.append(await _shown(room, room.control))
        assert await _shown(room, room.metrics) == serials[-1]
    before = answered.copy()
    await until(lambda: _more(answered, before))
    over.set()
    await asyncio.gather(*loads)
    assert len(set(serials)) == 4


async def _more(answered: Counter[str], before: Counter[str]) -> bool:
    return all(answered[url] > before[url] + 2 for url in before) and len(before) == 3


async def _is_new(room: Room, before: str) -> bool:
    return await _shown(room, room.control) != before


@pytest.mark.parametrize("said", [b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b""])
async def test_no_handshake_is_the_end_of_that_connection(
    room: Room, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Plain HTTP and noise are closed without an answer or a line in the log, and the next client is served."""
    with caplog.at_level(logging.INFO):
        for url in (room.control, room.metrics):
            reader, writer = await asyncio.open_connection("127.0.0.1", room.port(url))
            writer.write(said)
            if not said:
                writer.close()
            with contextlib.suppress(ConnectionError):
                assert b"HTTP/1.1" not in await reader.read()
            writer.close()
        async with room.client() as client:
            assert (await client.get(f"{room.control}/healthz")).status_code == 200
    assert not [one for one in caplog.records if one.name not in {"httpx", "uvicorn.access"}]


async def test_handshakes_under_way_have_a_most(room: Room) -> None:
    """Whoever comes beyond it is dropped, for they count among no connections yet; a place is free when one ends."""
    for server in room.entrance._servers:
        for listening in server.servers:
            listening._encryption = listening._encryption._replace(most_handshakes=3)  # type: ignore[attr-defined]
    for url in (room.control, room.metrics):
        idle = [await asyncio.open_connection("127.0.0.1", room.port(url)) for _ in range(3)]
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", room.port(url))
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
        for _, one in idle:
            one.close()

        async def serves(url: str = url) -> bool:
            try:
                return bool(await _shown(room, url))
            except OSError:
                return False

        await until(serves)


async def test_who_does_not_shake_hands_has_a_time(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is then cut off."""
    monkeypatch.setattr(encrypted, "HEAD_S", 0.2)
    files = authority.issue()
    settings = Settings.model_validate(
        {"state_dir": tmp_path, "tls": {"certificate": files.certificate, "key": files.key}}
    )
    entrance = Entrance(settings, FakeStore())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await entrance.open(ControlService(FakeStore()), None, listener, None)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        await entrance.close()


async def test_without_a_certificate_it_is_as_easy_as_it_was(tmp_path: Path) -> None:
    """On loopback nobody is asked for anything, and nothing is encrypted."""
    store = FakeStore()
    entrance = Entrance(Settings.model_validate({"state_dir": tmp_path}), store)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await entrance.open(ControlService(store), None, listener, None)
        async with httpx.AsyncClient(trust_env=False) as client:
            url = url_of(listener, tls=False)
            assert (await client.get(f"{url}/api/v1/status")).status_code == 200
        await entrance.close()


def duties(tmp_path: Path, access: dict[str, Any]) -> dict[str, Any]:
    """What such a room has its conductor do."""
    settings = Settings.model_validate({"state_dir": tmp_path, "access": access})
    return dict(Entrance(settings, FakeStore()).duties)


async def test_what_the_conductor_does_for_the_doors(tmp_path: Path) -> None:
    """It replaces the key of request ids when that is old, and fetches an issuer's keys where there is one."""
    assert list(duties(tmp_path, {})) == ["replacing the key of request ids"]
    tokens = {"issuer": "https://login.example.com"}
    assert list(duties(tmp_path, {"tokens": tokens})) == [
        "replacing the key of request ids",
        "keeping the keys of tokens",
    ]
    store = FakeStore()
    await store.ensure_keys()
    settings = Settings.model_validate({"state_dir": tmp_path, "access": {"request_id_key_days": 30}})
    [(_, rotate)] = Entrance(settings, store).duties
    first = await store.id_keys()
    await rotate()
    assert await store.id_keys() == first
    made_ms = await store.id_keys_made_ms()
    assert made_ms is not None
    store._id_keys_made_ms = made_ms - 31 * 24 * 3600 * 1000
    await rotate()
    assert await store.id_keys() != first


async def test_it_is_reached_under_the_name_that_it_binds(tmp_path: Path) -> None:
    """Beside those that are allowed; being on every address makes no name of it."""
    for host, names in (("localhost", {"localhost"}), ("0.0.0.0", set[str]())):  # noqa: S104
        settings = Settings.model_validate(
            {
                "state_dir": tmp_path,
                "control": {"host": host, "allowed_hosts": ["a.example"]},
                "access": {"required": True},
            }
        )
        assert Entrance(settings, FakeStore())._hosts == {*names, "127.0.0.1", "a.example"}


def test_a_certificate_that_cannot_be_used_is_a_reason_not_to_begin(tmp_path: Path) -> None:
    """In a sentence."""
    tls = {"certificate": tmp_path / "none.pem", "key": tmp_path / "none.key"}
    with pytest.raises(StartFailed, match=r"none\.pem"):
        Entrance(Settings.model_validate({"state_dir": tmp_path, "tls": tls}), FakeStore())


async def test_a_client_of_old_times_is_turned_away(room: Room) -> None:
    """TLS 1.1 is spoken by neither listener."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    for url in (room.control, room.metrics):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", room.port(url), ssl=context)
