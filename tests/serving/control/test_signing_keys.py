"""The keys that tokens are signed with follow their issuer, and stay while it is away."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.control.fake_access import FakeAccess
from serving.control.publishing import LedgerEntry
from serving.control.signing_keys import WANTED_PAUSE_S, Issuer, Schedule, SigningKeys
from serving.outgoing import Bounds, Outgoing
from tests.serving.control.test_jwks import EC, OKP, RSA
from tests.serving.outgoing_servers import Listening, answer, saying

ALGORITHMS = ("RS256", "ES256", "EdDSA")


class Publisher:
    """An issuer on loopback: what it answers by path, and how often it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.asked: list[str] = []
        self._server = Listening(self._answer)

    async def start(self) -> None:
        """Listens, where it listened before if it did."""
        await self._server.start(port=self._server.port)

    async def stop(self) -> None:
        """Goes away."""
        await self._server.stop()

    @property
    def url(self) -> str:
        """Its address."""
        return self._server.url

    def publish(self, *keys: Mapping[str, Any]) -> None:
        """These keys from now on."""
        self.pages["/jwks"] = answer(200, json.dumps({"keys": keys}).encode())

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        path = head.split()[1].decode()
        self.asked.append(path)
        writer.write(self.pages.get(path, answer(404)))
        await writer.drain()


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    """An issuer that publishes one key."""
    made = Publisher()
    await made.start()
    made.publish(EC)
    try:
        yield made
    finally:
        await made.stop()


class Room:
    """The duty beside a store, with a clock that a test turns."""

    def __init__(self, issuer: Issuer, store: FakeAccess | None = None) -> None:
        self.now = 100.0
        self.ledger: list[LedgerEntry] = []
        self.store = store or FakeAccess(lambda: None, self.ledger.append, lambda _: None, frozenset)
        self.duty = SigningKeys(
            issuer, self.store, Outgoing(Bounds(2.0, 100_000)),
            clock=lambda: self.now, now=lambda: 1_000_000 + self.now, chance=lambda: 0.0,
        )  # fmt: skip

    async def kids(self) -> list[str]:
        """The names of the keys that are kept."""
        return [key["kid"] for key in (await self.kept()).get("keys", [])]

    async def kept(self) -> dict[str, Any]:
        """What is kept."""
        return dict(json.loads(await self.store.jwks() or "{}"))

    async def revision(self) -> int:
        """What gateways acknowledge."""
        return (await self.store.access()).revision

    async def after(self, seconds: float) -> None:
        """Some time later, the duty once more."""
        self.now += seconds
        await self.duty.keep()


def room(publisher: Publisher, store: FakeAccess | None = None) -> Room:
    """A room whose issuer's keys are at the publisher's."""
    return Room(Issuer("https://issuer.example.com", f"{publisher.url}/jwks", ALGORITHMS, 300.0), store)


async def test_a_set_that_is_rotated_is_followed(publisher: Publisher) -> None:
    """At the next refresh: new keys come, old ones go, gateways are told, the ledger says which."""
    there = room(publisher)
    await there.duty.keep()
    assert await there.kids() == ["e"]
    publisher.publish(EC, OKP)
    await there.after(299)
    assert await there.kids() == ["e"]
    await there.after(1)
    assert await there.kids() == ["e", "o"]
    publisher.publish(OKP)
    await there.after(300)
    assert await there.kids() == ["o"]
    assert await there.revision() == 3
    assert [entry.facts["keys"] for entry in there.ledger] == [["e"], ["e", "o"], ["o"]]


async def test_a_set_that_stays_bothers_nobody(publisher: Publisher) -> None:
    """The time of the last fetch moves; the revision, which every gateway acknowledges, does not."""
    there = room(publisher)
    await there.duty.keep()
    first = await there.kept()
    await there.after(300)
    await room(publisher, there.store).duty.keep()
    assert await there.revision() == 1
    assert (await there.kept())["fetched_s"] > first["fetched_s"] - 1
    assert publisher.asked == ["/jwks"] * 3


async def test_an_issuer_that_goes_away_takes_no_key_with_it(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    """The keys stay for days, it is asked less and less, told once; back again, it is followed again."""
    there = room(publisher)
    await there.duty.keep()
    await publisher.stop()
    with caplog.at_level(logging.INFO):
        for _ in range(3_600):
            await there.after(60)
            if len(caplog.records) > 1:
                break
        assert await there.kids() == ["e"]
        assert await there.revision() == 1
        [told] = caplog.messages
        assert "cannot be reached" in told
        publisher.publish(OKP)
        await publisher.start()
        await there.after(60)
    assert await there.kids() == ["o"]
    assert "again" in caplog.messages[-1]


@pytest.mark.parametrize(
    "page",
    [
        answer(500, b"{}"),
        answer(200, b"<html>"),
        answer(200, b"[" * 90_000),
        answer(200, b"{}"),
        answer(200, b'{"keys": []}'),
        answer(200, json.dumps({"keys": [{"kty": "oct", "kid": "s", "k": "c2VjcmV0"}]}).encode()),
        answer(200, json.dumps({"keys": [{**RSA, "d": "c2VjcmV0"}]}).encode()),
        answer(200, b"x" * 200_000),
        answer(302, b"", "location: /elsewhere"),
        b"garbage\r\n\r\n",
    ],
    ids=["error", "html", "deep", "none", "empty", "symmetric", "private", "large", "redirect", "noise"],
)
async def test_what_is_no_set_leaves_the_keys_as_they_are(
    publisher: Publisher, page: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Told in a sentence, without what came."""
    there = room(publisher)
    await there.duty.keep()
    publisher.pages["/jwks"] = page
    publisher.pages["/elsewhere"] = answer(200, json.dumps({"keys": [OKP]}).encode())
    await there.after(300)
    assert await there.kids() == ["e"]
    assert await there.revision() == 1
    [told] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "those that are there stay" in told
    assert "c2VjcmV0" not in told
    assert "/elsewhere" not in publisher.asked


async def test_a_fit_key_beside_one_that_is_not_is_taken(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    """And the other one is named in the log and the ledger, once."""
    publisher.publish(EC, {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"})
    there = room(publisher)
    await there.duty.keep()
    await there.after(300)
    assert await there.kids() == ["e"]
    [told] = [message for message in caplog.messages if "shared" in message]
    assert "c2VjcmV0" not in told
    [entry] = there.ledger
    assert "shared" in entry.facts["left_out"][0]


async def test_a_key_that_a_gateway_does_not_know_is_fetched_soon_and_not_too_often(publisher: Publisher) -> None:
    """At most once in two seconds, however many tokens name keys that do not exist; no wish is lost meanwhile."""
    there = room(publisher)
    await there.duty.keep()
    publisher.publish(EC, OKP)
    await there.store.want_signing_keys()
    await there.after(1)
    assert len(publisher.asked) == 1
    await there.after(1)
    assert await there.kids() == ["e", "o"]
    for _ in range(10):
        await there.store.want_signing_keys()
        await there.after(0.5)
    assert len(publisher.asked) == 2 + 5 / WANTED_PAUSE_S // 1


async def test_the_set_is_found_by_the_issuers_own_configuration(publisher: Publisher) -> None:
    """Which must call itself what the settings call it, to the letter."""
    page = {"issuer": publisher.url, "jwks_uri": f"{publisher.url}/jwks"}
    publisher.pages["/.well-known/openid-configuration"] = answer(200, json.dumps(page).encode())
    there = Room(Issuer(publisher.url, None, ALGORITHMS))
    await there.duty.keep()
    assert await there.kids() == ["e"]


@pytest.mark.parametrize(
    "page",
    [
        {"issuer": "https://other.example.com", "jwks_uri": "{url}/jwks"},
        {"issuer": "{url}/", "jwks_uri": "{url}/jwks"},
        {"jwks_uri": "{url}/jwks"},
        {"issuer": "{url}"},
        {"issuer": "{url}", "jwks_uri": 3},
        {"issuer": "{url}", "jwks_uri": "file:///etc/passwd"},
        ["{url}"],
    ],
)
async def test_another_issuers_configuration_is_refused(publisher: Publisher, page: object) -> None:
    """And so is one that names no keys, or keys at no address; nothing is fetched then."""
    text = json.dumps(page).replace("{url}", publisher.url)
    publisher.pages["/.well-known/openid-configuration"] = answer(200, text.encode())
    there = Room(Issuer(publisher.url, None, ALGORITHMS))
    await there.duty.keep()
    assert await there.kids() == []
    assert "/jwks" not in publisher.asked


async def test_another_issuers_keys_go_before_the_new_one_is_reached(publisher: Publisher) -> None:
    """Settings that name another issuer take the first one's keys away even while the second is silent."""
    first = room(publisher)
    await first.duty.keep()
    await publisher.stop()
    second = Room(Issuer("https://new.example.com", f"{publisher.url}/jwks", ALGORITHMS), first.store)
    await second.duty.keep()
    assert await second.kids() == []
    assert await second.revision() == 2
    await publisher.start()


async def test_a_slow_issuer_is_left_at_the_time_limit(publisher: Publisher) -> None:
    """The keys stay, and the duty comes back."""
    there = room(publisher)
    await there.duty.keep()
    slow = await Listening(saying(*[b"x"] * 100, pause_s=0.1)).start()
    issuer = Issuer("https://issuer.example.com", f"{slow.url}/jwks", ALGORITHMS)
    duty = SigningKeys(issuer, there.store, Outgoing(Bounds(0.3, 1_000)))
    await asyncio.wait_for(duty.keep(), 30)
    await slow.stop()
    assert await there.kids() == ["e"]


chances = st.floats(0, 1)


@given(st.lists(st.tuples(st.booleans(), chances), max_size=40), st.floats(1, 86_400))
def test_the_schedule_never_rushes_and_never_sleeps(tries: list[tuple[bool, float]], refresh_s: float) -> None:
    """Between tries lie at least 0.8 s and at most the refresh, after failures at most a minute; chance spreads."""
    schedule, now = Schedule(), 0.0
    assert schedule.due(now, wanted=False)
    for worked, chance in tries:
        schedule = schedule.after(now, refresh_s, worked=worked, chance=chance)
        pause = schedule.next_s - now
        assert 0.79 <= pause <= refresh_s + 1e-6
        assert worked or pause <= 60 + 1e-6
        early = now + 0.99 * min(pause, WANTED_PAUSE_S)
        assert not schedule.due(early, wanted=True)
        assert schedule.due(now + 1.01 * WANTED_PAUSE_S, wanted=True)
        now = schedule.next_s
