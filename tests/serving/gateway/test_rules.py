"""Rules, and units that come from elsewhere than their header: the version that answers is what `choose` says."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from router.choose import Facts, Reason, choose, shadowed
from router.match import How, Match, Place, Said
from router.policy import WHOLE, Arm, Policy, Role, Rule, Shadow
from router.request_id import Key
from router.unit import LARGEST_BODY, FieldSource, JsonSource, unit_of
from serving.endpoint import Endpoint
from serving.gateway.exchange import STREAM_FROM
from tests.examples import examples
from tests.serving.gateway.rig import HEAD, KEY_ID, SECRET, Rig, eventually, read_id, running
from tests.serving.gateway.upstream import ECHOES, answers
from tests.serving.gateway.wire import Answer, get, ok, post

STABLE, RULED = 1, 2
EVERY = dict.fromkeys(range(1, 7), 1)
KEY = Key(KEY_ID, SECRET)
HALVES = (Arm(RULED, WHOLE // 2),)
BY_BODY = Policy(STABLE, HALVES, "s", unit_sources=(JsonSource("$.user"),))
BY_LARGE_BODY = Policy(STABLE, HALVES, "s", unit_sources=(JsonSource("$.user", LARGEST_BODY),))
BOTH = {STABLE: 1, RULED: 1}


def rule(how: How, *values: str, place: Place = Place.ANY) -> Policy:
    """A policy whose one rule asks for `x-tier`."""
    return Policy(STABLE, rules=(Rule(RULED, (Match("x-tier", values, how, place),)),))


def where(answer: Answer) -> tuple[int, str]:
    """The version that answered, and why."""
    assert answer.code == 200, answer
    return int(answer.one("sluice-version") or b""), (answer.one("sluice-reason") or b"").decode()


def places(rig: Rig) -> list[Endpoint]:
    """Where the versions answer."""
    return [Endpoint("127.0.0.1", one.port, 0, "m", version) for version, some in rig.upstreams.items() for one in some]


def received(rig: Rig) -> int:
    """Bytes of bodies that are still coming."""
    return sum(one._receiving.body.received for one in rig.worker.clients if one._receiving)


def check_unit(answer: Answer, policy: Policy, unit: bytes | None) -> None:
    """That the answer is by this unit; by the request's own nonce where there is none."""
    said = read_id(answer)
    sticks_to = said.nonce.to_bytes(8, "big") if unit is None else unit
    choice = choose(policy, Facts(sticks_to))
    assert (said.has_unit, said.unit) == (unit is not None, KEY.unit_hash(sticks_to))
    assert where(answer) == (choice.version, choice.reason.value)


# Rules.


@pytest.mark.parametrize(
    ("how", "values", "held", "not_held"),
    [
        (How.EQUALS, ("gold",), ["gold"], ["Gold", "gol", "golden", "", "gold,gold"]),
        (How.PREFIX, ("go", "si"), ["go", "gold", "silver"], ["g", "a gold", ""]),
        (How.REGEX, (r"v\d{1,2}|beta",), ["v1", "v12", "beta"], ["v", "v123", "xv1", "beta2", ""]),
        (How.IN, ("de", "fr"), ["de", "fr"], ["d", "it", "de,fr", ""]),
    ],
)
async def test_a_rule_by_a_header(how: How, values: tuple[str, ...], held: list[str], not_held: list[str]) -> None:
    """Who fulfils it gets its version, whoever they are; nobody else does, and the id says why."""
    async with running(policy=rule(how, *values), replicas=BOTH) as rig:
        client = await rig.client()
        for value in (*held, *not_held):
            await client.send(post(headers=[f"X-Tier: {value}", "sluice-unit: u"]))
            answer = await client.answer()
            assert where(answer) == ((RULED, "rule") if value in held else (STABLE, "stable")), value
            assert read_id(answer).reason is (Reason.RULE if value in held else Reason.STABLE)
        assert where(await rig.ask(post())) == (STABLE, "stable")


async def test_a_header_that_comes_twice_is_compared_joined() -> None:
    """As every list in a header is: by commas, so that two values are not taken for one."""
    async with running(policy=rule(How.EQUALS, "a,b"), replicas=BOTH) as rig:
        assert where(await rig.ask(post(headers=["X-Tier: a", "x-tier: b"]))) == (RULED, "rule")
        assert where(await rig.ask(post(headers=["X-Tier: a"]))) == (STABLE, "stable")


async def test_a_rule_for_grpc_is_none_for_http() -> None:
    """A condition on metadata is not fulfilled by a header of that name, one on a header is."""
    async with running(policy=rule(How.EQUALS, "gold", place=Place.METADATA), replicas=BOTH) as rig:
        assert where(await rig.ask(post(headers=["X-Tier: gold"]))) == (STABLE, "stable")
    async with running(policy=rule(How.EQUALS, "gold", place=Place.HEADER), replicas=BOTH) as rig:
        assert where(await rig.ask(post(headers=["X-Tier: gold"]))) == (RULED, "rule")


async def test_a_version_in_the_path_goes_before_a_rule() -> None:
    """Pinned first, then the rule."""
    async with running(policy=rule(How.EQUALS, "gold"), replicas=BOTH) as rig:
        answer = await rig.ask(post("/v2/models/m/versions/1/infer", headers=["X-Tier: gold"]))
        assert where(answer) == (STABLE, "pinned")


async def test_questions_about_a_model_follow_its_rules() -> None:
    """Metadata come from the version that an inference would reach."""
    async with running(policy=rule(How.EQUALS, "gold"), replicas=BOTH) as rig:
        assert where(await rig.ask(get("/v2/models/m", ["X-Tier: gold"]), b"GET")) == (RULED, "rule")


async def test_a_rule_of_the_next_policy_holds_for_the_next_request() -> None:
    """Heads that are known by their bytes are asked anew by every policy."""
    async with running(policy=rule(How.EQUALS, "gold"), replicas=BOTH) as rig:
        client = await rig.client()
        request, worker = post(headers=["X-Tier: gold"]), rig.worker
        seen = []
        for policy in (rule(How.EQUALS, "gold"), rule(How.EQUALS, "iron"), Policy(STABLE), rule(How.PREFIX, "g")):
            model = worker.routing.models["m"]
            worker.swap(worker.table.build(HEAD, {"m": policy}, places(rig)))
            assert worker.routing.models["m"] is not model
            await client.send(request)
            seen.append(where(await client.answer())[0])
        assert seen == [RULED, STABLE, STABLE, RULED]


# Units.


async def test_a_unit_from_a_second_header() -> None:
    """The policy's own header comes first, then its sources in order; what is empty names nobody."""
    sources = (FieldSource("x-user"), FieldSource("x-meta", Place.METADATA), FieldSource("x-device", Place.HEADER))
    policy = Policy(STABLE, HALVES, "s", unit_sources=sources)
    async with running(policy=policy, replicas=BOTH) as rig:
        client = await rig.client()
        for headers, unit in (
            (["sluice-unit: a", "x-user: b"], b"a"),
            (["sluice-unit:", "x-user: b"], b"b"),
            (["x-device: d", "x-user: b"], b"b"),
            (["x-user:", "x-meta: m", "x-device: d"], b"d"),
            (["x-meta: m"], None),
            ([], None),
        ):
            await client.send(post(headers=headers))
            check_unit(await client.answer(), policy, unit)


UNITS: list[tuple[bytes, bytes | None]] = [
    (b'{"user": "ada"}', b"ada"),
    (b'{"user": 7}', b"7"),
    ('{"user": "zoë"}'.encode(), "zoë".encode()),
    (b'{"user": ""}', None),
    (b'{"user": 1.5}', None),
    (b'{"user": true}', None),
    (b'{"user": {"id": 1}}', None),
    (b'{"other": 1}', None),
    (b'{"user": "ada"', None),
    (b"[]", None),
    (b"", None),
    (b"\xff\xfe", None),
    (b'{"a":' + b"[" * 400 + b"]" * 400 + b',"user":"deep"}', b"deep"),
]


@pytest.mark.parametrize("framing", ["length", "pieces", "chunks", "chunks in pieces"])
async def test_a_unit_from_the_body(framing: str) -> None:
    """However it comes, and the body reaches the model as it was; a body that says nothing draws."""
    async with running(policy=BY_BODY, replicas=BOTH) as rig:
        for upstreams in rig.upstreams.values():
            upstreams[0].usual = ECHOES
        client = await rig.client()
        for body, unit in UNITS:
            split = [body[:3], body[3:9], body[9:]]
            request = post(body=body, chunked=[one for one in split if one] if "chunks" in framing else None)
            if "pieces" in framing:
                start = request.index(b"\r\n\r\n") + 4
                for piece in (request[:start], request[start : start + 5], request[start + 5 :]):
                    await client.send(piece)
                    await asyncio.sleep(0.002)
            else:
                await client.send(request)
            answer = await client.answer()
            check_unit(answer, BY_BODY, unit)
            assert answer.body == body


async def test_the_header_goes_before_the_body_and_waits_for_none() -> None:
    """Who is named in the head may stream; the body is not read then."""
    async with running(policy=BY_LARGE_BODY, replicas=BOTH) as rig:
        request = post(body=b" " * (LARGEST_BODY - 20) + b'{"user": "x"}', headers=["sluice-unit: ada"])
        client = await rig.client()
        await client.send(request[: STREAM_FROM + 1_000])
        expected = choose(BY_LARGE_BODY, Facts(b"ada")).version
        await eventually(lambda: rig.upstreams[expected][0].heads)
        await client.send(request[STREAM_FROM + 1_000 :])
        check_unit(await client.answer(), BY_LARGE_BODY, b"ada")


async def test_a_field_that_comes_after_the_body_in_order() -> None:
    """It counts where the body names nobody, and not where it does."""
    sources = (FieldSource("x-first"), JsonSource("$.user"), FieldSource("x-last"))
    policy = Policy(STABLE, HALVES, "s", unit_sources=sources)
    async with running(policy=policy, replicas=BOTH) as rig:
        for headers, body, unit in (
            (["x-first: a", "x-last: c"], b'{"user": "b"}', b"a"),
            (["x-last: c"], b'{"user": "b"}', b"b"),
            (["x-last: c"], b"{}", b"c"),
            (["x-last: c", "Content-Encoding: gzip"], gzip.compress(b'{"user": "b"}'), b"c"),
            ([], b"{}", None),
        ):
            check_unit(await rig.ask(post(body=body, headers=headers)), policy, unit)
        assert where(await rig.ask(get("/v2/models/m/config", ["x-last: c"]), b"GET"))[0] == (
            choose(policy, Facts(b"c")).version
        )


async def test_a_body_with_the_binary_extension() -> None:
    """Only what stands before the tensors is JSON, and only its size counts; raw binary names nobody."""
    front, tensors = b'{"user": "ada"}', bytes(range(256)) * 400
    for policy in (BY_BODY, BY_LARGE_BODY):
        async with running(policy=policy, replicas=BOTH) as rig:
            length = f"Inference-Header-Content-Length: {len(front)}"
            for chunked in (None, [front[:4], front[4:] + tensors]):
                answer = await rig.ask(post(body=front + tensors, headers=[length], chunked=chunked))
                check_unit(answer, policy, b"ada")
            raw = post(body=front, headers=["Inference-Header-Content-Length: 0"])
            check_unit(await rig.ask(raw), policy, None)


async def test_tensors_are_not_waited_for() -> None:
    """As soon as the JSON is there a large body streams, to the version that the JSON says."""
    front = b'{"user": "ada"}'
    async with running(policy=BY_BODY, replicas=BOTH) as rig:
        request = post(
            body=front + b"x" * (2 * STREAM_FROM), headers=[f"Inference-Header-Content-Length: {len(front)}"]
        )
        client = await rig.client()
        await client.send(request[: STREAM_FROM + 1_000])
        await eventually(lambda: rig.upstreams[choose(BY_BODY, Facts(b"ada")).version][0].heads)
        await client.send(request[STREAM_FROM + 1_000 :])
        check_unit(await client.answer(), BY_BODY, b"ada")


@pytest.mark.parametrize("size", [STREAM_FROM - 1, STREAM_FROM + 1, LARGEST_BODY])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_body_is_waited_for_up_to_the_limit(size: int, *, chunked: bool) -> None:
    """The unit may be its last word: nothing goes out before."""
    body = b'{"a": "' + b"x" * (size - 7 - 17) + b'", "user": "ada"}'
    assert len(body) == size
    async with running(policy=BY_LARGE_BODY, replicas=BOTH) as rig:
        request = post(body=body, chunked=[body[: size // 2], body[size // 2 :]] if chunked else None)
        client = await rig.client()
        await client.send(request[:-40])
        await eventually(lambda: received(rig) > size - 100)
        assert not any(one.heads for upstreams in rig.upstreams.values() for one in upstreams)
        await client.send(request[-40:])
        check_unit(await client.answer(), BY_LARGE_BODY, b"ada")


@pytest.mark.parametrize("policy", [BY_BODY, BY_LARGE_BODY], ids=["64 KiB", "1 MiB"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_beyond_the_limit_names_nobody(policy: Policy, *, chunked: bool) -> None:
    """And it is not waited for: it goes out as it comes."""
    [source] = policy.unit_sources
    assert isinstance(source, JsonSource)
    body = b'{"user": "ada", "a": "' + b"x" * max(source.max_bytes, STREAM_FROM) + b'"}'
    async with running(policy=policy, replicas=BOTH) as rig:
        request = post(body=body, chunked=[body[:-10], body[-10:]] if chunked else None)
        client = await rig.client()
        await client.send(request[:-5])
        await eventually(lambda: [one for some in rig.upstreams.values() for one in some if one.heads])
        await client.send(request[-5:])
        check_unit(await client.answer(), policy, None)


async def test_a_body_over_the_limit_that_is_small_enough_to_be_held() -> None:
    """The limit is the source's, to the byte; another source of the same policy may read more."""
    sources = (JsonSource("$.small", 20), JsonSource("$.large", 40))
    policy = Policy(STABLE, HALVES, "s", unit_sources=sources)
    async with running(policy=policy, replicas=BOTH) as rig:
        for body, unit in (
            (b'{"small":"a"}'.ljust(20), b"a"),
            (b'{"small":"a"}'.ljust(21), None),
            (b'{"small":"a","large":"b"}', b"b"),
            (b'{"large":"b"}'.ljust(40), b"b"),
            (b'{"large":"b"}'.ljust(41), None),
        ):
            for chunked in (None, [body[:7], body[7:]]):
                check_unit(await rig.ask(post(body=body, chunked=chunked)), policy, unit)


async def test_a_compressed_body_names_nobody() -> None:
    """It is not inflated for this; `identity` is no compression."""
    async with running(policy=BY_BODY, replicas=BOTH) as rig:
        body = b'{"user": "ada"}'
        packed = post(body=gzip.compress(body), headers=["Content-Encoding: gzip"])
        check_unit(await rig.ask(packed), BY_BODY, None)
        check_unit(await rig.ask(post(body=body, headers=["Content-Encoding: Identity"])), BY_BODY, b"ada")


async def test_a_body_that_is_held_back_is_asked_for() -> None:
    """`Expect: 100-continue` is answered before the body is waited for."""
    async with running(policy=BY_BODY, replicas=BOTH) as rig:
        request = post(body=b'{"user": "ada"}', headers=["Expect: 100-continue"])
        start = request.index(b"\r\n\r\n") + 4
        client = await rig.client()
        await client.send(request[:start])
        assert (await client.some()).startswith(b"HTTP/1.1 100 ")
        await client.send(request[start:])
        check_unit(await client.answer(), BY_BODY, b"ada")


async def test_a_client_that_never_sends_its_body_is_timed_out() -> None:
    """By the limit that holds for every body; it has taken no place at a model."""
    async with running(policy=BY_LARGE_BODY, replicas=BOTH, upstream_timeout_s=0.2) as rig:
        client = await rig.client()
        await client.send(post(body=b"x" * (STREAM_FROM * 2))[: STREAM_FROM + 5_000])
        answer = await client.answer()
        assert (answer.code, "did not arrive in time" in answer.error) == (400, True)
        assert not any(one.heads for upstreams in rig.upstreams.values() for one in upstreams)


async def test_a_pipelined_body_is_read_on_when_its_turn_comes() -> None:
    """One that waited for its turn with more to come than is read of such is read to its end, and decides."""
    body = b'{"a": "' + b"x" * (3 * STREAM_FROM) + b'", "user": "ada"}'
    gate = asyncio.Event()
    async with running(policy=BY_LARGE_BODY, replicas=BOTH) as rig:
        first = choose(BY_LARGE_BODY, Facts(b"first")).version
        rig.upstreams[first][0].script.append(answers(ok(), gate=gate))
        client = await rig.client()
        await client.send(post(headers=["sluice-unit: first"]))
        await eventually(lambda: rig.requests)
        sending = asyncio.create_task(client.send(post(body=body)))
        await eventually(lambda: [one for one in rig.worker.clients if not one._reading])
        gate.set()
        await client.answer()
        check_unit(await client.answer(), BY_LARGE_BODY, b"ada")
        await sending


async def test_a_body_that_is_too_deep_is_refused_before_it_is_read() -> None:
    """The unit is looked for only in what a model may be shown."""
    async with running(policy=BY_BODY, replicas=BOTH) as rig:
        assert (await rig.ask(post(body=b"[" * 30_000))).code == 400
        assert rig.requests == 0


async def test_a_client_that_goes_away_while_its_body_is_waited_for() -> None:
    """Nothing is left behind."""
    async with running(policy=BY_LARGE_BODY, replicas=BOTH) as rig:
        client = await rig.client()
        await client.send(post(body=b"x" * LARGEST_BODY)[:400_000])
        await eventually(lambda: rig.worker.clients)
        client.close(reset=True)
        await eventually(lambda: not rig.worker.clients)
        assert not rig.worker.in_flight


async def test_a_rule_and_a_unit_from_the_body() -> None:
    """A rule decides without a unit; the unit in the id is the body's all the same."""
    policy = Policy(STABLE, salt="s", rules=rule(How.EQUALS, "gold").rules, unit_sources=BY_BODY.unit_sources)
    async with running(policy=policy, replicas=BOTH) as rig:
        answer = await rig.ask(post(body=b'{"user": "ada"}', headers=["X-Tier: gold"]))
        assert where(answer) == (RULED, "rule")
        assert read_id(answer).unit == KEY.unit_hash(b"ada")


# Any of it.

NAMES = st.sampled_from(["x-a", "x-b", "sluice-unit"])
TEXTS = st.sampled_from(["a", "ab", "b1", "zoë", "7"])
MATCHES = (
    st.builds(Match, NAMES, st.tuples(TEXTS), st.just(How.EQUALS), st.sampled_from(Place))
    | st.builds(Match, NAMES, st.lists(TEXTS, min_size=1, max_size=3, unique=True).map(tuple), st.just(How.IN))
    | st.builds(Match, NAMES, st.lists(TEXTS, min_size=1, max_size=3, unique=True).map(tuple), st.just(How.PREFIX))
    | st.builds(Match, NAMES, st.sampled_from([("a.*",), (r"\w\d",)]), st.just(How.REGEX))
)
CONDITIONS = st.lists(MATCHES, max_size=2).map(tuple)
RULES = st.builds(Rule, st.integers(2, 4), st.lists(MATCHES, min_size=1, max_size=2).map(tuple))
SOURCES = st.builds(FieldSource, NAMES, st.sampled_from(Place)) | st.builds(
    JsonSource, st.sampled_from(["$.user", "$.a[0].id", "$['x']"]), st.sampled_from([20, 64, 65_536])
)
POLICIES = st.builds(
    Policy,
    st.just(STABLE),
    st.integers(0, WHOLE).map(lambda share: (Arm(2, share, 0, Role.CANARY),)),
    salt=st.sampled_from(["", "s"]),
    unit_header=NAMES,
    allow_override=st.booleans(),
    rules=st.lists(RULES, max_size=2).map(tuple),
    unit_sources=st.lists(SOURCES, max_size=3, unique=True).map(tuple),
    shadows=st.lists(
        st.builds(Shadow, st.integers(5, 6), st.integers(0, WHOLE), st.just("t"), CONDITIONS),
        max_size=2,
        unique_by=lambda one: one.version,
    ).map(tuple),
)
VALUES = st.none() | st.sampled_from(["a", "", 7, 1.5, {"id": "b"}, [{"id": "c"}], True, "x" * 70])
DOCUMENTS = st.dictionaries(st.sampled_from(["user", "a", "x"]), VALUES, max_size=3)


@dataclass(frozen=True)
class Asked:
    """A request, and how it comes."""

    headers: tuple[tuple[str, str], ...]
    document: bytes
    tensors: bytes | None
    chunked: bool
    packed: bool
    cuts: tuple[int, ...]
    pinned: int | None
    override: int | None

    @property
    def body(self) -> bytes:
        """As it is sent."""
        body = self.document + (self.tensors or b"")
        return gzip.compress(body) if self.packed else body

    @property
    def wire(self) -> bytes:
        """All of it."""
        lines = [f"{name}: {value}".encode().decode("latin-1") for name, value in self.headers]
        lines += [f"Inference-Header-Content-Length: {len(self.document)}"] if self.tensors is not None else []
        lines += ["Content-Encoding: deflate"] if self.packed else []
        lines += [f"sluice-version: {self.override}"] if self.override else []
        version = f"/versions/{self.pinned}" if self.pinned else ""
        pieces = [piece for piece in (self.body[:5], self.body[5:]) if piece] if self.chunked else None
        return post(f"/v2/models/m{version}/infer", self.body, lines, chunked=pieces)

    @property
    def said(self) -> Said:
        """What its fields say."""
        fields: dict[bytes, bytes] = {}
        for name, value in self.headers:
            key = name.encode()
            fields[key] = fields[key] + b"," + value.encode() if key in fields else value.encode()
        return Said(fields)


REQUESTS = st.builds(
    Asked,
    st.lists(st.tuples(NAMES, TEXTS | st.just("")), max_size=3).map(tuple),
    DOCUMENTS.map(lambda said: json.dumps(said).encode()) | st.sampled_from([b"", b"{", b"[]", b"\xff"]),
    st.none() | st.binary(max_size=40),
    st.booleans(),
    st.integers(0, 9).map(lambda drawn: drawn == 9),
    st.lists(st.integers(1, 400), max_size=3).map(lambda cuts: tuple(sorted(cuts))),
    st.none() | st.none() | st.integers(1, 4),
    st.none() | st.none() | st.integers(1, 4),
)


@pytest.fixture(scope="module")
def front() -> Iterator[tuple[asyncio.AbstractEventLoop, Rig]]:
    """One worker for all examples."""
    loop = uvloop.new_event_loop()
    context: AbstractAsyncContextManager[Rig] = running(replicas=EVERY)
    rig = loop.run_until_complete(context.__aenter__())
    yield loop, rig
    loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()


@settings(max_examples=examples(1_000), deadline=None)
@given(policy=POLICIES, asked=st.lists(REQUESTS, min_size=1, max_size=4))
def test_the_version_is_the_one_that_choose_says(
    front: tuple[asyncio.AbstractEventLoop, Rig], policy: Policy, asked: list[Asked]
) -> None:
    """For any policy and any requests, however they come; and copies go to whom `shadowed` says."""
    loop, rig = front
    loop.run_until_complete(asyncio.wait_for(_check(rig, policy, asked), 30))


async def _check(rig: Rig, policy: Policy, asked: Sequence[Asked]) -> None:
    worker = rig.worker
    worker.swap(worker.table.build(HEAD, {"m": policy}, places(rig)))
    copied, expected = worker.table.copied(), {5: 0, 6: 0}
    client = await rig.client()
    for one in asked:
        data, start = one.wire, 0
        for cut in (*one.cuts, len(data)):
            if start < cut:
                await client.send(data[start:cut])
                await asyncio.sleep(0)
            start = max(start, cut)
        answer = await client.answer()
        unit = _check_one(answer, policy, one)
        for version in shadowed(policy, unit, one.said):
            expected[version] += 1
    client.close()
    await eventually(lambda: not worker.shadows)
    now = worker.table.copied()
    assert {v: now.get(f"m/{v}", 0) - copied.get(f"m/{v}", 0) for v in expected} == expected


def _check_one(answer: Answer, policy: Policy, asked: Asked) -> bytes:
    said, id_ = asked.said, read_id(answer)
    whole = None if asked.packed else asked.document
    unit = unit_of(policy.unit_header, policy.unit_sources, said, whole)
    sticks_to = unit or id_.nonce.to_bytes(8, "big")
    choice = choose(policy, Facts(sticks_to, asked.pinned, asked.override, said))
    assert where(answer) == (choice.version, choice.reason.value)
    assert (id_.assigned, id_.has_unit, id_.unit) == (choice.version, unit is not None, KEY.unit_hash(sticks_to))
    return sticks_to
