"""Over TLS on both sides everything is as it is in the clear; new certificates and bad handshakes disturb nobody.

The tests that are imported here run again with the encrypted worker of this file's `rig`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.epoch import Head
from router.policy import Policy
from serving.endpoint import Endpoint
from serving.tls import HTTP_1
from tests.serving.certificates import Authority, Files, serial_of
from tests.serving.gateway.rig import Client, Rig, eventually, running
from tests.serving.gateway.test_halves import (
    LARGE,
    Watch,
    digest,
    test_a_large_answer_to_a_slow_reader,
    test_a_large_body_in_tiny_chunks,
    test_an_early_answer,
    test_an_early_answer_that_streams,
)
from tests.serving.gateway.test_heads import test_http_1_0, test_lost_framing, test_refused_in_good_order
from tests.serving.gateway.test_known_length import (
    test_a_large_answer_that_breaks_off_is_cut,
    test_a_large_body_that_breaks_off_is_no_request,
    test_large_answers_use_one_connection,
    test_requests_behind_a_large_one_are_found,
)
from tests.serving.gateway.test_relay import (
    test_a_stream_is_relayed_event_by_event,
    test_answers_without_a_body,
    test_close_is_kept_on_both_sides,
    test_connections_are_kept_on_both_sides,
    test_every_framing_to_http_1_0,
    test_every_framing_to_http_1_1,
    test_expect_is_granted,
    test_expect_is_refused_without_reading,
    test_pipelined_requests_are_answered_in_order,
    test_refused_behind_others,
    test_unasked_bytes_close_an_idle_connection,
    test_very_many_pipelined_requests,
)
from tests.serving.gateway.upstream import ECHOES, HANGS, ScriptedUpstream
from tests.serving.gateway.wire import post

__all__ = [
    "test_a_large_answer_that_breaks_off_is_cut",
    "test_a_large_answer_to_a_slow_reader",
    "test_a_large_body_in_tiny_chunks",
    "test_a_large_body_that_breaks_off_is_no_request",
    "test_a_stream_is_relayed_event_by_event",
    "test_an_early_answer",
    "test_an_early_answer_that_streams",
    "test_answers_without_a_body",
    "test_close_is_kept_on_both_sides",
    "test_connections_are_kept_on_both_sides",
    "test_every_framing_to_http_1_0",
    "test_every_framing_to_http_1_1",
    "test_expect_is_granted",
    "test_expect_is_refused_without_reading",
    "test_http_1_0",
    "test_large_answers_use_one_connection",
    "test_lost_framing",
    "test_pipelined_requests_are_answered_in_order",
    "test_refused_behind_others",
    "test_refused_in_good_order",
    "test_requests_behind_a_large_one_are_found",
    "test_unasked_bytes_close_an_idle_connection",
    "test_very_many_pipelined_requests",
]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom clients and workers trust."""
    return Authority(tmp_path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A certificate that does not change."""
    return Authority(tmp_path_factory.mktemp("authority")).issue()


@pytest.fixture
async def rig(files: Files) -> AsyncIterator[Rig]:
    """An encrypted worker in front of one encrypted upstream."""
    async with running(tls=files) as one:
        yield one


def shown_to(client: Client) -> str:
    """Which certificate this connection was shown."""
    return serial_of(client._writer.get_extra_info("ssl_object"))


async def test_a_large_body_there(rig: Rig) -> None:
    """20 MB to an upstream that reads late arrive intact, and are at no time held here."""
    rig.upstream.reads = False
    client = await rig.client()
    watch = Watch(rig)
    sending = asyncio.create_task(client.send(post(body=LARGE)))
    await eventually(lambda: rig.upstream.connections)
    await eventually(lambda: any(one._reading is False for one in rig.worker.clients))
    for connection in rig.upstream.connections:
        connection.transport.resume_reading()
    assert (await client.answer()).code == 200
    await sending
    assert digest(rig.upstream.requests[0].body) == digest(LARGE)
    assert watch.stop() < 4_000_000


async def test_a_client_that_says_goodbye_frees_its_place(rig: Rig) -> None:
    """TLS connections have no half: with the client's goodbye its request is given up."""
    rig.upstream.usual = HANGS
    client = await rig.client()
    await client.send(post())
    await eventually(lambda: rig.worker.in_flight)
    client.close()
    await eventually(lambda: not rig.worker.in_flight and not rig.worker.clients)


async def _busy(client: Client, until: asyncio.Event) -> int:
    """How many requests were answered well on this one connection."""
    answered = 0
    while not until.is_set():
        body = b"%d" % answered
        await client.send(post(body=body))
        answer = await client.answer()
        assert (answer.code, answer.body) == (200, body)
        answered += 1
        await asyncio.sleep(0)
    return answered


async def test_a_new_certificate_drops_nobody(authority: Authority) -> None:
    """Connections under load go on as they were while the files are replaced, broken and replaced again."""
    files = authority.issue()
    async with running(tls=files, tls_reload_s=0.01) as rig:
        rig.upstream.usual = ECHOES
        certificate, over = rig.worker._certificates[HTTP_1], asyncio.Event()
        assert certificate is not None
        first = [await rig.client() for _ in range(8)]
        serials = [shown_to(client) for client in first]
        loads = [asyncio.create_task(_busy(client, over)) for client in first]
        for _ in range(3):
            files.key.write_text("half of a")
            await asyncio.sleep(0.05)
            probe = await rig.client()
            assert shown_to(probe) == serials[-1]
            authority.issue()
            await eventually(lambda: certificate._looked[1][2] > 20)
            await asyncio.sleep(0.05)
            newest = await rig.client()
            serials.append(shown_to(newest))
            loads.append(asyncio.create_task(_busy(newest, over)))
        await asyncio.sleep(0.1)
        over.set()
        assert all(count > 10 for count in await asyncio.gather(*loads))
        assert len(set(serials[:8])) == 1
        assert len(set(serials[7:])) == 4


@pytest.mark.parametrize(
    "said", [b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 500, b""]
)
async def test_no_handshake_is_the_end_of_that_connection(
    rig: Rig, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Plain HTTP, noise and a silent goodbye are closed without a line in the log, and the next client is served."""
    client = await Client.connect(rig.port)
    with caplog.at_level(logging.INFO):
        if said:
            await client.send(said)
        else:
            client.close()
        with contextlib.suppress(ConnectionError):
            assert b"HTTP/1.1" not in await client.rest()
    client.close()
    assert (await rig.ask(post())).code == 200
    assert not caplog.records
    assert rig.worker._door is not None
    await eventually(lambda: rig.worker._door is not None and not rig.worker._door._tasks)


async def test_who_does_not_shake_hands_has_a_time(files: Files) -> None:
    """That of a request's head; and there are only so many of them at once."""
    async with running(tls=files, header_timeout_s=0.3, max_connections=2) as rig:
        silent = [await Client.connect(rig.port) for _ in range(2)]
        await eventually(lambda: rig.worker._door is not None and len(rig.worker._door._tasks) == 2)
        one_too_many = await Client.connect(rig.port)
        assert await one_too_many.rest() == b""
        assert not silent[0].ended
        for client in silent:
            assert await client.rest() == b""
            client.close()
        one_too_many.close()
        assert (await rig.ask(post())).code == 200


async def test_an_upstream_that_is_not_trusted_gets_nothing(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of another authority, or of another name: no request reaches it, and the log says why, once."""
    (tmp_path / "elsewhere").mkdir()
    strangers = [Authority(tmp_path / "elsewhere").issue(), authority.issue("example.com", called="named")]
    async with running(tls=authority.issue()) as rig:
        for epoch, shown in enumerate(strangers, start=50):
            async with ScriptedUpstream(shown) as stranger:
                at = Endpoint("127.0.0.1", stranger.port, 0, "m", 1, tls=True)
                caplog.clear()
                rig.worker.swap(rig.worker.table.build(Head(epoch, "d", "p"), {"m": Policy(1)}, [at]))
                codes = [(await rig.ask(post())).code for _ in range(3)]
                assert set(codes) <= {502, 503}
                assert not stranger.heads
                assert len([one for one in caplog.records if "is not trusted" in one.message]) == 1


async def test_only_what_is_encrypted_is_dialled_so(files: Files) -> None:
    """An upstream in the clear goes on beside an encrypted one, and the same port may become encrypted."""
    async with running(tls=files) as rig, ScriptedUpstream() as plain:
        at = Endpoint("127.0.0.1", plain.port, 0, "m", 1)
        rig.worker.swap(rig.worker.table.build(Head(60, "d", "p"), {"m": Policy(1)}, [at]))
        assert (await rig.ask(post())).code == 200
        assert plain.requests
        plain.stop()
        async with ScriptedUpstream(files) as encrypted:
            at = Endpoint("127.0.0.1", encrypted.port, 0, "m", 1, tls=True)
            rig.worker.swap(rig.worker.table.build(Head(61, "d", "p"), {"m": Policy(1)}, [at]))
            assert (await rig.ask(post())).code == 200
            assert encrypted.requests


async def test_the_client_chooses_http_1_1(rig: Rig) -> None:
    """One that would rather speak HTTP/2 is told by ALPN."""
    assert rig.tls is not None
    context = rig.tls.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = await Client.connect(rig.port, tls=context)
    shown: ssl.SSLObject = client._writer.get_extra_info("ssl_object")
    assert shown.selected_alpn_protocol() == "http/1.1"
    client.close()
