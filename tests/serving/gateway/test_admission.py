"""Nobody gets past the head of a request without the right to it, and what opens the door stays at the door."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from router.policy import Arm, Policy, Shadow
from serving.access import table
from serving.access.principal import ANONYMOUS, Principal
from serving.access.roles import Needs, Role
from serving.access.verifier import Verifier
from serving.endpoint import Endpoint
from serving.gateway.admission import BAD_FOR_S, MOST_KEPT, Admission
from serving.gateway.counters import Role as Attempted
from serving.gateway.paths import Operation
from serving.gateway.request import Bad, HeadBuilder, RequestHead
from tests.serving.access.issuer import CLAIMS, NOW_S, RULES, Issuer, jwks
from tests.serving.gateway.callers import NOBODY, Trail, caller, lets_in, lets_in_now
from tests.serving.gateway.rig import HEAD, Rig, eventually, read_id, running
from tests.serving.gateway.upstream import HANGS, Reply, answers
from tests.serving.gateway.wire import Answer, Request, get, ok, post

ANYBODY = caller()


@pytest.fixture
async def shut(rig: Rig) -> Rig:
    """A worker that asks everybody for a key, and lets in one."""
    lets_in(rig.worker, ANYBODY)
    return rig


async def closed(answer: Answer, code: int = 401) -> str:
    """The sentence of an answer that ends its connection."""
    assert answer.code == code
    assert answer.one("connection") == b"close"
    assert answer.all("www-authenticate") == ([b"Bearer"] if code == 401 else [])
    return answer.error


# Who is let in.


@pytest.mark.parametrize("header", NOBODY.values(), ids=NOBODY)
@pytest.mark.parametrize(
    "path", ["/v2/models/m/infer", "/v2/models/n/infer", "/v2/repository/index", "/v2/repository/models/m/load", "/x"]
)
async def test_nobody_gets_in(shut: Rig, header: str, path: str) -> None:
    """Without a good key nothing is answered but 401, whether what is asked for exists or not, and no model hears."""
    told = {await closed(await shut.ask(post(one, headers=[header]))) for one in (path, "/v2/models/m/infer")}
    assert len(told) == 1
    assert not shut.upstream.heads


async def test_a_key_gets_in(shut: Rig) -> None:
    """With a good key the model answers, again and again, on the parser's way and on the short one."""
    client = await shut.client()
    for _ in range(4):
        await client.send(post(headers=[ANYBODY.header]))
        assert (await client.answer()).code == 200


async def test_a_token_gets_in(rig: Rig) -> None:
    """With a good token the model answers; with one that another key signed it does not."""
    trail = lets_in(rig.worker, jwks=jwks(Issuer().jwk()))
    times = {"exp": int(rig.worker.wall_s) + 60, "iat": int(rig.worker.wall_s)}
    assert (await rig.ask(post(headers=[f"Authorization: Bearer {Issuer().token(**times)}"]))).code == 200
    wrong = Issuer(number=1).token(**times)
    await closed(await rig.ask(post(headers=[f"Authorization: Bearer {wrong}"])))
    assert [kind for _, kind, _, _ in trail.refusals] == ["wrong"]


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
async def test_probes_carry_no_key(shut: Rig, path: str) -> None:
    """Health is everybody's, and what a probe shows is not looked at."""
    for header in NOBODY.values():
        assert (await shut.ask(get(path, [header]), b"GET")).code == 200


async def test_nobody_is_asked(rig: Rig) -> None:
    """Where no key is needed everybody gets in who shows none, and who shows a wrong one is told so."""
    lets_in(rig.worker, ANYBODY, required=False)
    assert (await rig.ask(post())).code == 200
    assert (await rig.ask(post(headers=[ANYBODY.header]))).code == 200
    for what in ("a wrong key", "no key", "another scheme", "an empty header"):
        await closed(await rig.ask(post(headers=[NOBODY[what]])))


async def test_before_anything_is_known(rig: Rig) -> None:
    """A worker that has never heard of any key turns away who shows none, and asks who shows one to come back."""
    rig.worker.admission = Admission(Trail(), required=True)
    await closed(await rig.ask(post()))
    answer = await rig.ask(post(headers=[ANYBODY.header]))
    assert (answer.code, answer.one("retry-after")) == (503, b"1")
    lets_in_now(rig.worker, ANYBODY)
    assert (await rig.ask(post(headers=[ANYBODY.header]))).code == 200


async def test_a_key_is_taken_back(shut: Rig) -> None:
    """From the moment at which a worker knows, a key opens nothing, on an open connection and for a known head."""
    client = await shut.client()
    await client.send(post(headers=[ANYBODY.header]) * 2)
    assert [(await client.answer()).code for _ in range(2)] == [200, 200]
    lets_in_now(shut.worker)
    await client.send(post(headers=[ANYBODY.header]))
    await closed(await client.answer())
    lets_in_now(shut.worker, ANYBODY)
    assert (await shut.ask(post(headers=[ANYBODY.header]))).code == 200


async def test_a_key_ends_by_itself(rig: Rig) -> None:
    """A key that has opened the door before opens it no more once its time has come."""
    short = caller(expires_s=rig.worker.wall_s + 0.3)
    trail = lets_in(rig.worker, short)
    assert (await rig.ask(post(headers=[short.header]))).code == 200
    await eventually(lambda: rig.worker.wall_s > (short.record.expires_s or 0))
    assert "expired" in await closed(await rig.ask(post(headers=[short.header])))
    assert trail.refusals == [("prediction", "expired", "POST infer m", short.shown.id)]


# The right to what.


async def test_one_model(rig: Rig) -> None:
    """A key for one model may ask that and no other; whether another exists is not to be learned from it."""
    narrow, other = caller(models=frozenset({"m"})), caller(models=frozenset({"secret", "n"}))
    trail = lets_in(rig.worker, narrow, other)
    for path in ("/v2/models/m/infer", "/v2/models/%6D/infer", "/v2/models/m/versions/1/infer"):
        assert (await rig.ask(post(path, headers=[narrow.header]))).code == 200
        answer = await rig.ask(post(path, headers=[other.header]))
        assert (answer.code, answer.error) == (403, "This key may not ask model 'm'.")
    for what in ("", "/ready", "/config", "/stats"):
        assert (await rig.ask(get(f"/v2/models/m{what}", [other.header]), b"GET")).code == 403
    answer = await rig.ask(post("/v2/models/nobody/infer", headers=[other.header]))
    assert (answer.code, answer.error) == (403, "This key may not ask model 'nobody'.")
    assert {refusal[1] for refusal in trail.refusals} == {"model"}
    assert {refusal[3] for refusal in trail.refusals} == {other.shown.id}


async def test_only_what_may_be_known_is_named(rig: Rig) -> None:
    """Index, statistics and the sentence about an unknown model name those models only that the key may ask."""
    endpoints = [Endpoint("127.0.0.1", rig.upstream.port, 0, name, 1) for name in ("m", "n", "secret")]
    rig.worker.swap(rig.worker.table.build(HEAD, dict.fromkeys(("m", "n", "secret"), Policy(1)), endpoints))
    rig.upstream.usual = Reply(make=_statistics)
    narrow, wide = caller(models=frozenset({"m", "gone"})), caller(Role.OPERATE)
    lets_in(rig.worker, narrow, wide)
    for who, names in ((narrow, ["m"]), (wide, ["m", "n", "secret"])):
        index = await rig.ask(post("/v2/repository/index", headers=[who.header]))
        assert [row["name"] for row in index.json] == names
        found = await rig.ask(get("/v2/models/stats", [who.header]), b"GET")
        assert [row["name"] for row in found.json["model_stats"]] == names
        unknown = await rig.ask(post("/v2/models/gone/infer", headers=[who.header]))
        assert (unknown.code, unknown.error) == (404, f"There is no model 'gone' here: there is {', '.join(names)}.")


def _statistics(request: Request) -> bytes:
    name = request.target.split(b"/")[3].decode()
    return ok(json.dumps({"model_stats": [{"name": name}]}).encode())


@pytest.mark.parametrize("operation", Operation, ids=lambda one: one.name.lower())
@pytest.mark.parametrize("role", [None, *Role], ids=lambda one: "nobody" if one is None else one.value)
async def test_the_table(rig: Rig, operation: Operation, role: Role | None) -> None:
    """Each operation is open to whom the table says, and to nobody else; marked synthetic, to who may operate."""
    who = caller() if role is None else caller(role)
    lets_in(rig.worker, *([] if role is None else [who]))
    method, path = PATHS[operation]
    for synthetic in (False, True):
        headers = [*([] if role is None else [who.header]), *(["sluice-synthetic: 1"] if synthetic else [])]
        request = post(path, headers=headers) if method == "POST" else get(path, headers)
        needs = max(table.PREDICTION[operation], table.SYNTHETIC if synthetic else Needs.NOTHING)
        given = Needs.NOTHING if role is None else who.record.principal
        answer = await rig.ask(request, method.encode())
        if role is None:
            assert (answer.code == 401) is (needs > Needs.NOTHING)
        else:
            assert isinstance(given, Principal)
            open_to_all = operation is not Operation.LOAD  # which is forbidden to everybody, in other words
            assert (answer.code == 403) is (not given.may(needs) or not open_to_all)


PATHS = {
    Operation.LIVE: ("GET", "/v2/health/live"),
    Operation.READY: ("GET", "/v2/health/ready"),
    Operation.SERVER: ("GET", "/v2"),
    Operation.INDEX: ("POST", "/v2/repository/index"),
    Operation.LOAD: ("POST", "/v2/repository/models/m/load"),
    Operation.MODEL_READY: ("GET", "/v2/models/m/ready"),
    Operation.METADATA: ("GET", "/v2/models/m"),
    Operation.CONFIG: ("GET", "/v2/models/m/config"),
    Operation.STATS: ("GET", "/v2/models/m/stats"),
    Operation.ALL_STATS: ("GET", "/v2/models/stats"),
    Operation.INFER: ("POST", "/v2/models/m/infer"),
    Operation.GENERATE: ("POST", "/v2/models/m/generate"),
    Operation.GENERATE_STREAM: ("POST", "/v2/models/m/generate_stream"),
    Operation.NOT_OFFERED: ("GET", "/v2/systemsharedmemory/status"),
    Operation.UNKNOWN: ("GET", "/nothing"),
}


# In which order.


async def test_the_body_is_not_waited_for(shut: Rig) -> None:
    """A request is refused by its head alone, whatever is announced: no body, no leave to send one, no end of it."""
    for framing in ("Content-Length: 1000", "Content-Length: 99999999999", "Transfer-Encoding: chunked"):
        for expects in ([], ["Expect: 100-continue"]):
            client = await shut.client()
            await client.send(post(headers=[framing, *expects]).replace(b"Content-Length: 2\r\n", b"", 1)[:-2])
            await closed(await client.answer())
            assert not client.interim
            client.close()
    assert not shut.upstream.heads


async def test_what_is_sent_all_the_same_is_dropped(shut: Rig) -> None:
    """Who sends on after being refused is not kept in memory, is not answered again, and is cut off."""
    client = await shut.client()
    await client.send(post(headers=["X: y"], body=b"x" * 100_000) + post() * 3)
    await closed(await client.answer())
    assert await client.rest() == b""
    [left] = shut.worker.clients
    assert sum(len(piece) for exchange in left._exchanges for piece in exchange.body.pieces) == 0


async def test_what_is_looked_at_first(shut: Rig) -> None:
    """Broken framing is 400 to everybody; all else is 401 to who has no key, and what it is to who has one."""
    for broken in (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n"):
        assert (await shut.ask(broken)).code == 400
    for request, code in (
        (get("/v2/models/m/infer"), 405), (get("/nothing"), 404), (get("/v2/models/n"), 404),
        (post("/v2/repository/models/m/load"), 403), (get("/v2/logging"), 501),
        (post(headers=["sluice-version: x"]), 400), (post(headers=["Inference-Header-Content-Length: 9"]), 400),
        (post(headers=["sluice-synthetic: x"]), 400), (post(headers=["Accept-Encoding: gzip;q=1e999"]), 400),
        (post(headers=["X: " + "x" * 9000]), 400), (post(body=b"[" * 600), 400),
        (post(headers=["Content-Length: 999999999"]).replace(b"Content-Length: 2\r\n", b""), 413),
    ):  # fmt: skip
        method = request.split(b" ")[0]
        await closed(await shut.ask(request, method))
        with_key = request.replace(b"Host: gateway", b"Host: gateway\r\n" + ANYBODY.header.encode(), 1)
        assert (await shut.ask(with_key, method)).code == code, request


async def test_long_headers(shut: Rig) -> None:
    """A key of any length is refused in time; a head that is too large is broken framing, key or no key."""
    await closed(await shut.ask(post(headers=["Authorization: Bearer " + "x" * 9000])))
    answer = await shut.ask(post(headers=[ANYBODY.header, "X: " + "x" * 70_000]))
    assert (answer.code, answer.one("connection")) == (400, b"close")


# Who follows whom on a connection.


async def test_each_request_for_itself(shut: Rig) -> None:
    """Of two pipelined requests the first with a key is answered, the second without is not, and nothing after it."""
    client = await shut.client()
    await client.send(post(headers=[ANYBODY.header]) + post() + post(headers=[ANYBODY.header]))
    assert (await client.answer()).code == 200
    await closed(await client.answer())
    assert await client.rest() == b""
    assert len(shut.upstream.heads) == 1


async def test_waiting_behind_another(shut: Rig) -> None:
    """A request without a key that waits for its turn is refused when that comes, though its body is there already."""
    gate = asyncio.Event()
    shut.upstream.script.append(answers(ok()[:-1], ok()[-1:], gate=gate))
    client = await shut.client()
    await client.send(post(headers=[ANYBODY.header]))
    await eventually(lambda: shut.upstream.heads)
    await client.send(post(body=b"x" * 10_000))
    await asyncio.sleep(0.05)
    gate.set()
    assert (await client.answer()).code == 200
    await closed(await client.answer())


SMUGGLED = get("/v2/models/m/config?smuggled")
SMUGGLERS: dict[str, bytes] = {
    "CL.TE": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(SMUGGLED)),
    "TE.CL": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n%x\r\n" % len(SMUGGLED),
    "TE.TE": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "xchunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "vertical tab": b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "blank before colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "obs-fold": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "bare LF": b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED),
    "length list": b"Content-Length: 0, %d\r\n\r\n" % len(SMUGGLED),
    "signed length": b"Content-Length: +0\r\n\r\n",
    "no length": b"Content-Length:\r\n\r\n",
    "bad chunk": b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "chunk extension": b"Transfer-Encoding: chunked\r\n\r\n0;a=b\nx\r\n\r\n",
    "upgrade": b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    "connection names the length": b"Connection: content-length\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED),
    "expect": b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    "keep-alive, close": b"Connection: keep-alive, close\r\nContent-Length: 0\r\n\r\n",
    "trailer": b"Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer x\r\n\r\n",
    "key in a trailer": b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + ANYBODY.header.encode() + b"\r\n\r\n",
}


@pytest.mark.parametrize("keyed", [True, False], ids=["with a key", "without"])
@pytest.mark.parametrize("rest", SMUGGLERS.values(), ids=SMUGGLERS)
async def test_smuggling(shut: Rig, rest: bytes, *, keyed: bool) -> None:
    """However the framing of a request lies, what comes behind it has no more rights than it shows itself."""
    first = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\n" + (ANYBODY.header.encode() + b"\r\n" if keyed else b"")
    for cut in (0, len(first), len(first) + len(rest) // 2, len(first) + len(rest)):
        data = first + rest + SMUGGLED
        client = await shut.client()
        await client.send(data[:cut])
        await asyncio.sleep(0.002)
        await client.send(data[cut:])
        await client.half_close()
        await client.rest()
        client.close()
    assert not [head for head in shut.upstream.heads if b"smuggled" in head.target]
    assert keyed or not shut.upstream.heads


async def test_a_key_counts_for_the_head_that_it_is_in(shut: Rig) -> None:
    """A key in a trailer, in a body, in the path or in a second header of the same name opens nothing."""
    key = ANYBODY.shown.text
    for request in (
        post(chunked=[b"{}"]).replace(b"0\r\n\r\n", b"0\r\n" + ANYBODY.header.encode() + b"\r\n\r\n"),
        post(body=ANYBODY.header.encode()), post(f"/v2/models/m/infer?authorization=Bearer%20{key}"),
        post(headers=["Authorization: Bearer x", ANYBODY.header]),
        post(headers=[ANYBODY.header, ANYBODY.header]), post(headers=[f"X-Authorization: Bearer {key}"]),
        post(headers=[f"Authorization : Bearer {key}"]), post(headers=[f"Authorization:\r\n Bearer {key}"]),
    ):  # fmt: skip
        assert (await shut.ask(request)).code in {400, 401}
    assert not shut.upstream.heads


# What stays here.


async def test_what_opens_the_door_stays_at_the_door() -> None:
    """No model, no candidate after it, no stable in its place, no shadow and no question gets to see a credential."""
    policy = Policy(1, (Arm(2, 1_000_000),), salt="s", shadows=(Shadow(3, 1_000_000),))
    async with running(policy=policy, replicas={1: 2, 2: 1, 3: 1}, ejection_s=0.05, attempt_timeout_s=0.3) as rig:
        lets_in(rig.worker, ANYBODY)
        kept = [ANYBODY.header, "Cookie: session=secret", "Proxy-Authorization: Basic eDp5", "COOKIE: again=secret"]
        rig.upstreams[2][0].script.extend([answers(ok(code="500 Oh")), HANGS])
        for request in (
            post(headers=kept), post(headers=kept, chunked=[b"{", b"}"]), post(body=b"x" * 300_000, headers=kept),
            get("/v2/models/m", kept), post("/v2/models/m/generate", headers=kept),
            post(headers=[line.upper().replace("BEARER", "bearer") if "Cookie" in line else line for line in kept]),
        ):  # fmt: skip
            client = await rig.client()
            await client.send(request + request)
            for _ in range(2):
                assert (await client.answer()).code == 200
            client.close()
            rig.upstreams[2][0].script.clear()
        await rig.ask(get("/v2/models/stats", kept), b"GET")
        rig.worker.blame(rig.gateways(rig.upstreams[1][0]), at_once=True)
        await eventually(lambda: any(b"/ready" in head.target for head in rig.upstreams[1][0].heads))
        await eventually(lambda: rig.upstreams[3][0].requests)
        heads = [head for some in rig.upstreams.values() for one in some for head in one.heads]
    secrets = (ANYBODY.shown.secret, "secret", "eDp5")
    assert len(heads) > 20
    for head in heads:
        assert not [name for name, _ in head.headers if name.lower() in {b"authorization", b"cookie"}]
        assert not any(secret.encode() in value for _, value in head.headers for secret in secrets)


def test_heads_print_no_key() -> None:
    """A head, printed, shows nothing of a credential."""
    assert ANYBODY.shown.secret not in repr(_head([ANYBODY.header]))


# Marked synthetic.


@pytest.mark.parametrize("value", ["1", "true", "True"])
async def test_synthetic(value: str) -> None:
    """A synthetic request is routed and answered, its id says so, it counts apart, and no shadow gets a copy."""
    async with running(policy=Policy(1, shadows=(Shadow(2, 1_000_000),)), replicas={1: 1, 2: 1}) as rig:
        operator = caller(Role.OPERATE)
        lets_in(rig.worker, operator)
        header = f"sluice-synthetic: {value}"
        for _ in range(3):
            answer = await rig.ask(post(headers=[operator.header, header]))
            assert (answer.code, read_id(answer).synthetic) == (200, True)
        answer = await rig.ask(post(headers=[operator.header]))
        assert not read_id(answer).synthetic
        await eventually(lambda: rig.upstreams[2][0].requests)
        assert len(rig.upstreams[2][0].requests) == 1
        assert rig.outcomes()[1, "synthetic"] == {"ok": 3}
        assert rig.outcomes()[1, "first"] == {"ok": 1}
        assert rig.worker.table.totals()["m/1"] == 1
        report: Any = rig.worker.report()
        assert [(row["version"], row["requests"], row["synthetic"]) for row in report["versions"]] == [
            (1, 1, 3), (2, 0, 0),
        ]  # fmt: skip
        assert all(b"sluice-synthetic" not in dict(one.headers) for one in rig.upstream.requests)


async def test_synthetic_failures_count_apart() -> None:
    """Every attempt at a synthetic request is in the series of its own, repeats and fallbacks as well."""
    policy = Policy(1, (Arm(2, 1_000_000),), salt="s")
    async with running(policy=policy, replicas={1: 1, 2: 1}) as rig:
        rig.upstreams[2][0].usual = answers(ok(code="500 Oh"))
        answer = await rig.ask(post(headers=["sluice-synthetic: 1"]))
        assert answer.one("sluice-reason") == b"fallback"
        assert set(rig.outcomes()) == {(1, "synthetic"), (2, "synthetic")}
        assert Attempted.SYNTHETIC not in {Attempted.FIRST, Attempted.REPEAT, Attempted.FALLBACK, Attempted.SHADOW}


@pytest.mark.parametrize("value", ["0", "", "yes", "false", "2", "1, 1"])
async def test_synthetic_is_one_or_nothing(rig: Rig, value: str) -> None:
    """Any other value is refused, rather than guessed at."""
    assert (await rig.ask(post(headers=[f"sluice-synthetic: {value}"]))).code == 400


async def test_synthetic_needs_the_right(rig: Rig) -> None:
    """Who may only predict cannot mark: not even a request for nothing."""
    who = caller()
    trail = lets_in(rig.worker, who)
    for request in (post(headers=[who.header, "sluice-synthetic: 1"]), get("/v2", [who.header, "sluice-synthetic: 1"])):
        answer = await rig.ask(request, request.split(b" ")[0])
        assert (answer.code, "synthetic" in answer.error) == (403, True)
    assert [refusal[1] for refusal in trail.refusals] == ["role", "role"]


# The answers that are kept.


def _head(headers: list[str], path: bytes = b"/v2/models/m/infer") -> RequestHead:
    builder = HeadBuilder()
    builder.url = path
    for line in ["Host: h", "Content-Length: 2", *headers]:
        name, _, value = line.partition(": ")
        builder.add(name.encode(), value.encode())
    return builder.build(b"POST", "1.1", 1000, keep_alive=True)


class Counts(Verifier):
    """A verifier that counts how often it is asked."""

    asked = 0

    def verify(self, authorization: bytes | None, now_s: float) -> Any:  # noqa: ANN401 (as its base has it)
        """Part of `Verifier`."""
        self.asked += 1
        return super().verify(authorization, now_s)


class Peer:
    """A client."""

    address = "127.0.0.1:1"


def test_answers_are_kept() -> None:
    """A good key is verified once, in however many heads it comes; a bad one once a second, and both after a change."""
    admission, counts = Admission(Trail(), required=True), Counts([ANYBODY.record])
    admission.use(counts)
    for number in range(5):
        head = _head([ANYBODY.header, f"X: {number}"])
        assert admission.admit(head, NOW_S + number, Peer()) is admission.admit(head, NOW_S + number, Peer())
    assert counts.asked == 1
    for after_s in (0.0, 0.1, 0.9 * BAD_FOR_S, BAD_FOR_S, 1.5 * BAD_FOR_S):
        assert isinstance(admission.admit(_head([NOBODY["a wrong key"]]), NOW_S + after_s, Peer()), Bad)
    assert counts.asked == 3
    admission.use(counts)
    admission.admit(_head([NOBODY["a wrong key"]]), NOW_S, Peer())
    admission.admit(_head([ANYBODY.header]), NOW_S, Peer())
    assert counts.asked == 5


def test_what_was_good_is_not_kept_for_longer() -> None:
    """A head that was let in is asked for again once its token has ended, and under another verifier."""
    issuer = Issuer()
    token = _head([f"Authorization: Bearer {issuer.token()}"])
    admission = Admission(Trail(), required=True, verifier=Verifier((), jwks(issuer.jwk()), RULES))
    ends = CLAIMS["exp"] + RULES.leeway_s
    assert isinstance(admission.admit(token, NOW_S, Peer()), Principal)
    assert isinstance(admission.admit(token, ends - 0.001, Peer()), Principal)
    assert isinstance(admission.admit(token, ends, Peer()), Bad)
    assert isinstance(admission.admit(token, NOW_S + BAD_FOR_S + 1000, Peer()), Bad)
    admission.use(Verifier((), None, RULES))
    assert isinstance(admission.admit(token, NOW_S, Peer()), Bad)


def test_a_token_that_begins() -> None:
    """A token that is not valid yet is refused until it is, and not for longer."""
    issuer = Issuer()
    early = f"Authorization: Bearer {issuer.token(nbf=int(NOW_S) + 32)}"
    admission = Admission(Trail(), required=True, verifier=Verifier((), jwks(issuer.jwk()), RULES))
    assert isinstance(admission.admit(_head([early]), NOW_S, Peer()), Bad)
    assert isinstance(admission.admit(_head([early]), NOW_S + 2, Peer()), Principal)


def test_what_is_kept_is_bounded() -> None:
    """A flood of wrong keys pushes out older wrong keys, and never a good one."""
    counts = Counts([ANYBODY.record])
    admission = Admission(Trail(), required=True, verifier=counts)
    admission.admit(_head([ANYBODY.header]), NOW_S, Peer())
    draw = random.Random(3)
    for _ in range(MOST_KEPT + 100):
        admission.admit(_head([f"Authorization: Bearer {draw.getrandbits(64):x}"]), NOW_S, Peer())
    assert len(admission._turned_away) == MOST_KEPT
    before = counts.asked
    admission.admit(_head([ANYBODY.header]), NOW_S, Peer())
    assert counts.asked == before


def test_an_unknown_signing_key_is_asked_for() -> None:
    """A token of a signing key that is not known says so to whoever can fetch it; any other does not."""
    admission, wishes = Admission(Trail(), required=True, verifier=Verifier((), jwks(Issuer().jwk()), RULES)), []
    admission.on_unknown_signing_key = lambda: wishes.append(1)
    admission.admit(_head([f"Authorization: Bearer {Issuer(number=1).token()}"]), NOW_S, Peer())
    assert not wishes
    admission.admit(_head([f"Authorization: Bearer {Issuer(kid='new').token()}"]), NOW_S, Peer())
    assert wishes


def test_nobody_in_particular() -> None:
    """Who is not asked for a key is anonymous; so is who asks for something that is nobody's."""
    admission = Admission(Trail(), verifier=Verifier(()))
    assert admission.admit(_head([]), NOW_S, Peer()) is ANONYMOUS
    assert admission.admit(_head([NOBODY["a wrong key"]], b"/v2/health/live"), NOW_S, Peer()) is ANONYMOUS
