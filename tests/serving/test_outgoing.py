"""Outgoing calls: what may be called, and what an answer may do."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from serving.outgoing import Bounds, CallFailed, NotCallable, Outgoing, Target
from tests.serving.outgoing_servers import Diverted, Listening, Names, answer, listening, saying

QUICK = Bounds(total_s=0.5, answer_bytes=1_000)
PUBLIC = "93.184.216.34"
SECRET = "hunter2"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Signs the certificates of the tests."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Iterator[str]:
    """The authority's certificate."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return iter([str(file)])


def served_as(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """TLS with a certificate for the name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks.example.com", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com", "http://", "https:///x",
        "https://user:hunter2@example.com/", "https://example.com@127.0.0.1/", "https://127.0.0.1#@example.com/",
        "https://example.com\\@127.0.0.1/", "https://example.com/\\x", "https://exa mple.com/",
        "https://example.com/a b",
        "https://example.com/\r\nX: y", "https://example.com\t/", "https://example.com/#x", "https://example.com:0/",
        "https://example.com:65536/", "https://example.com:443:443/", "https://ex\u0430mple.com/", "https://\uff11.1.1.1/",
        "https://[::1%25eth0]/", "https://%31%32%37.0.0.1/", " https://example.com/", "HTTPS://example.com/",
        "https://example.com/" + "x" * 2_048,
    ],
)  # fmt: skip
def test_what_programs_read_in_two_ways_is_no_address(url: str) -> None:
    """Users, fragments, backslashes, blanks, escapes in the host, other alphabets, other schemes; for both kinds."""
    for kind in (Target.trusted, Target.public):
        with pytest.raises(NotCallable) as refused:
            kind(url)
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost.", "redis", "127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1",
        "127.0.1", "017700000001", "0", "0x", "10.0.0.1", "169.254.169.254", "192.168.0.1", "1.2.3.4.", "example.com.",
        "example..com", ".example.com", "-a.example.com", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
        "[fe80::1]", "[fd00::1]",
        "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "08.8.8.8", "8.8.8.0x8", "8.8.8.8.8", "[1:2]", "[::::]",
    ],
)  # fmt: skip
def test_a_host_that_is_not_public_is_refused_at_the_door(host: str) -> None:
    """Names inside, and every spelling of an address that resolvers take for one inside."""
    with pytest.raises(NotCallable, match="no public host"):
        Target.public(f"https://{host}/")


def test_what_is_set_over_the_api_is_https_on_an_allowed_port() -> None:
    """http, and another port than those allowed, are refused with what is allowed."""
    with pytest.raises(NotCallable, match="not https"):
        Target.public("http://hooks.example.com/")
    with pytest.raises(NotCallable, match="port is not allowed"):
        Target.public("https://hooks.example.com:6379/")
    assert Target.public("https://hooks.example.com:8443/x?y=1", ports=(443, 8443)).port == 8443
    assert Target.public("https://1.1.1.1/").host == "1.1.1.1"
    assert Target.public("https://[2606:4700::1111]:443/").authority == "[2606:4700::1111]"


def test_a_path_may_hold_a_password_and_is_not_shown() -> None:
    """Neither in words nor in the value's own form."""
    target = Target.trusted(f"https://hooks.example.com/{SECRET}?key={SECRET}")
    assert SECRET not in f"{target} {target!r}"
    assert target.path == f"/{SECRET}?key={SECRET}"


@given(st.text(), st.text())
def test_whatever_is_given_is_a_target_or_refused(before: str, after: str) -> None:
    """No other error comes out, and what is a target has the host that was written."""
    try:
        target = Target.public(f"https://{before}.example.com{after}")
    except NotCallable:
        return
    assert target.host.endswith(".example.com") or after
    assert "@" not in target.host


async def test_a_trusted_address_is_called() -> None:
    """Whatever host and port it has; an error status is an answer; a request has its method, headers and body."""
    async with listening(saying(answer(404, b"{}", "X-Two: b"))) as server:
        reply = await Outgoing(QUICK).call(
            "POST", Target.trusted(f"{server.url}/a?b=c"), headers={"x-one": "a", "Content-Length": "9"}, body=b"hello"
        )
        assert (reply.status, reply.body, reply.headers["x-two"]) == (404, b"{}", "b")
    [head] = server.heads
    assert head.startswith(b"POST /a?b=c HTTP/1.1\r\n")
    for line in (f"host: 127.0.0.1:{server.port}", "x-one: a", "content-length: 5", "accept-encoding: identity"):
        assert line in head.decode().lower()


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 304])
async def test_a_redirect_is_an_error_and_never_followed(status: int) -> None:
    """The second server, where it would lead, hears nothing."""
    async with listening(saying(answer(200, SECRET.encode()))) as inside:
        redirect = answer(status, b"", f"location: {inside.url}/latest/meta-data")
        async with listening(saying(redirect)) as server:
            with pytest.raises(CallFailed, match="redirect") as failed:
                await Outgoing(QUICK).get(Target.trusted(server.url))
        assert str(inside.port) not in str(failed.value)
        assert inside.heads == []


async def test_a_name_whose_answer_changes_gains_nothing(authority: trustme.CA, ca_file: Iterator[str]) -> None:
    """It is asked once, and the connection goes to the address that was looked at; asked anew, it is refused."""
    names = Names([PUBLIC], ["127.0.0.1"])
    async with listening(saying(answer(200, b"ok")), served_as(authority, "hooks.example.com")) as server:
        network = Diverted(server.port)
        outgoing = Outgoing(QUICK, ca_file=next(ca_file), resolving=names, network=network)
        target = Target.public("https://hooks.example.com/")
        assert (await outgoing.get(target)).body == b"ok"
        assert names.asked == ["hooks.example.com"]
        assert network.dialled == [(PUBLIC, 443)]
        with pytest.raises(CallFailed, match="public addresses"):
            await outgoing.get(target)
        assert len(network.dialled) == 1
        assert len(server.heads) == 1


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"], ["169.254.169.254"], ["10.0.0.7"], ["::1"], ["::ffff:127.0.0.1"], ["::ffff:10.0.0.1"],
        ["64:ff9b::a9fe:a9fe"], ["fe80::1%eth0"], ["::"], [PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], [],
    ],
)  # fmt: skip
async def test_a_name_that_leads_inside_is_not_dialled(addresses: list[str]) -> None:
    """Not even where another of its addresses is public; and who asks is not told what the name means inside."""
    network = Diverted(1)
    outgoing = Outgoing(QUICK, resolving=Names(addresses), network=network)
    with pytest.raises(CallFailed) as failed:
        await outgoing.get(Target.public("https://metadata.example.com/"))
    assert failed.value.sentence == (
        "https://metadata.example.com is not called: its name does not lead to public addresses, or not to those alone."
    )
    assert network.dialled == []


async def test_the_certificate_is_checked_against_the_name_and_not_the_address(
    authority: trustme.CA, ca_file: Iterator[str]
) -> None:
    """A certificate for another name, or of an authority that is not trusted, is refused."""
    trusted = next(ca_file)
    async with listening(saying(answer()), served_as(authority, "other.example.com")) as server:
        for file in (trusted, None):
            network = Diverted(server.port)
            outgoing = Outgoing(QUICK, ca_file=file, resolving=Names([PUBLIC]), network=network)
            with pytest.raises(CallFailed, match=r"certificate of https://hooks\.example\.com is not accepted"):
                await outgoing.get(Target.public("https://hooks.example.com/"))
            assert network.dialled == [(PUBLIC, 443)]
        assert server.heads == []


async def test_the_next_address_is_tried(authority: trustme.CA, ca_file: Iterator[str]) -> None:
    """Where the first one of a name refuses; all of them were looked at before."""
    async with listening(saying(answer(200, b"ok")), served_as(authority, "hooks.example.com")) as server:
        network = Diverted(server.port, refusing=["2606:4700::1111"])
        names = Names(["2606:4700::1111", PUBLIC])
        outgoing = Outgoing(QUICK, ca_file=next(ca_file), resolving=names, network=network)
        assert (await outgoing.get(Target.public("https://hooks.example.com/"))).body == b"ok"
        assert [address for address, _ in network.dialled] == ["2606:4700::1111", PUBLIC]


async def test_nothing_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a proxy nor a password from .netrc."""
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with listening(saying(answer(200, b"proxied"))) as proxy, listening(saying(answer(200, b"direct"))) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert (await Outgoing(QUICK).get(Target.trusted(server.url))).body == b"direct"
        assert proxy.heads == []
        assert b"authorization" not in server.heads[0].lower()


@pytest.mark.parametrize(
    "said",
    [
        answer(200, b"x" * 1_001),
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + 2 * (b"200\r\n" + b"x" * 512 + b"\r\n"),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5_000,
    ],
    ids=["announced", "absurd", "chunked", "until-close"],
)  # fmt: skip
async def test_an_answer_that_is_too_large_is_not_read_to_its_end(said: bytes) -> None:
    """However it is sent, with the bound in the sentence."""
    async with listening(saying(said)) as server:
        with pytest.raises(CallFailed, match=r"more than 1,000 bytes|does not speak HTTP"):
            await Outgoing(QUICK).get(Target.trusted(server.url))


async def test_an_answer_of_exactly_the_bound_is_read() -> None:
    """The bound is what may come."""
    async with listening(saying(answer(200, b"x" * 1_000))) as server:
        assert len((await Outgoing(QUICK).get(Target.trusted(server.url))).body) == 1_000


async def test_a_bomb_is_not_unpacked() -> None:
    """A megabyte of zeros in a kilobyte: the answer is refused for being packed at all."""
    bomb = gzip.compress(bytes(400_000))
    assert len(bomb) < 1_000
    async with listening(saying(answer(200, bomb, "content-encoding: gzip"))) as server:
        with pytest.raises(CallFailed, match="compresses"):
            await Outgoing(QUICK).get(Target.trusted(server.url))


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\n", *[b"x-h: y\r\n"] * 100],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n", *[b"x"] * 900],
        [b"HTTP/1.1 100 Continue\r\n\r\n"] * 100,
        [b""] * 100,
    ],
    ids=["head", "body", "informational", "silence"],
)
async def test_a_server_that_drips_is_left_at_the_time_limit(pieces: list[bytes]) -> None:
    """The limit is on the whole call: each byte may come in time, and the answer still too late."""
    async with listening(saying(*pieces, pause_s=0.05)) as server:
        with pytest.raises(CallFailed, match=r"did not answer within 0\.5 s"):
            await Outgoing(QUICK).get(Target.trusted(server.url))


async def test_a_resolver_that_hangs_is_left_at_the_time_limit() -> None:
    """Resolving is part of the call."""

    async def never(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    with pytest.raises(CallFailed, match="did not answer"):
        await Outgoing(QUICK, resolving=never).get(Target.public("https://hooks.example.com/"))


@pytest.mark.parametrize(
    "said",
    [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", b"HTTP/9 x\r\n\r\n", b"x" * 200_000,
     b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"],
    ids=["nothing", "ssh", "short", "version", "endless-line", "two-lengths"],
)  # fmt: skip
async def test_what_is_no_answer_is_told_in_a_sentence(said: bytes) -> None:
    """With the address, and without what came."""
    async with listening(saying(said)) as server:
        with pytest.raises(CallFailed) as failed:
            await Outgoing(QUICK).get(Target.trusted(f"{server.url}/{SECRET}"))
    assert server.url in failed.value.sentence
    assert SECRET not in f"{failed.value} {failed.value.hint}"
    assert "SSH" not in failed.value.sentence


async def test_who_is_not_there_is_told_in_a_sentence() -> None:
    """Refused connections, and names that are not known."""
    server = await Listening(saying()).start()
    await server.stop()
    with pytest.raises(CallFailed, match="cannot be reached"):
        await Outgoing(QUICK).get(Target.trusted(server.url))
    with pytest.raises(CallFailed, match="is not known here"):
        await Outgoing(QUICK, resolving=Names([])).get(Target.trusted("http://nowhere.example.com/"))


@pytest.mark.parametrize("header", ["a\r\nx-injected: 1", "a\nb", "a\0b", "\u2603", "\udcff"])
async def test_a_header_cannot_bring_another(header: str) -> None:
    """What would is an error before a byte is sent."""
    async with listening(saying(answer())) as server:
        with pytest.raises(CallFailed):
            await Outgoing(QUICK).get(Target.trusted(server.url), headers={"x-name": header})
        assert server.heads == []


async def test_an_answer_is_handed_over_as_it_came() -> None:
    """JSON stays bytes: reading it is for whoever asked."""
    body = json.dumps({"keys": []}).encode()
    async with listening(saying(answer(200, body))) as server:
        assert json.loads((await Outgoing(QUICK).get(Target.trusted(server.url))).body) == {"keys": []}


@pytest.mark.parametrize(("total_s", "answer_bytes"), [(0, 1), (-1, 1), (float("inf"), 1), (float("nan"), 1), (1, -1)])
def test_a_bound_bounds(total_s: float, answer_bytes: int) -> None:
    """Without an end in time or in bytes it is none."""
    with pytest.raises(ValueError, match="a call has a time"):
        Bounds(total_s, answer_bytes)
