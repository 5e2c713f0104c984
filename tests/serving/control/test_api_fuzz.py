"""Thousands of requests that the description allows, and as many that it forbids: every answer is one it describes.

The application is the real one, in a process of its own, on a real Valkey; only the servers that try versions out are
not there. Sources, artifacts and scratch lie in a folder of the test's own, and nothing outside it is admitted. The
same is sent as each role, and with bodies that no description made: what the table says holds for all of it.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.access.roles import Needs, Role, gives
from serving.control.api.gate import Table
from serving.control.valkey import EmbeddedValkey
from tests.serving.control.operations import ENDLESS, path_of
from tests.serving.control.room_processes import guarded_room_process, room_process
from tests.serving.control.workshops import SIGNATURE

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
TIMEOUT_S = 15
LONGEST_WAIT_S = 0.2
SMALL, LARGE = 300, 2_000
_AT_MOST_EACH = 4

# What is there, so that not every request ends at "there is no such thing".
_KNOWN: dict[str, list[Any]] = {
    "model": ["digits"],
    "version": [1, 2, "1", "production"],
    "alias": ["production", "next"],
    "before": ["1"],
    "after": ["2"],
    "If-Match": ["*", '"0"', '"1"'],
}


class Fuzzer:
    """One room, what is sent to it, and how often it was asked.

    Args:
        address: of its API.
        sources: the folder that artifacts are admitted from.
        headers: what all requests carry beside what is made up.
        gives: the most that these open; None for everything, to everybody.
    """

    def __init__(
        self, address: str, sources: Path, headers: Mapping[str, str] | None = None, gives: Needs | None = None
    ) -> None:
        self.address = address
        self.schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        self.session = requests.Session()
        self.session.trust_env = False
        self.headers = dict(headers or {})
        self.gives = gives
        self.sources = [str(path) for path in sorted(sources.iterdir())]
        self.sent: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.impossible: set[tuple[str, GenerationMode]] = set()

    def operations(self) -> list[Any]:
        """All that can be asked and has an end."""
        found = list(self.schema.get_all_operations())
        assert all(isinstance(one, Ok) for one in found), "the description itself is wrong"
        operations = [one.ok() for one in found if isinstance(one, Ok)]
        return [one for one in operations if one.label not in ENDLESS]

    def run(self, cases: int) -> None:
        """Sends at least that many requests, spread over all operations and both modes."""
        operations = self.operations()
        turn = 0
        while sum(self.sent.values()) < cases and turn < _AT_MOST_EACH:
            for operation in operations:
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    left = cases - sum(self.sent.values())
                    share = max(2, 2 * left // (len(operations) * 2))
                    self._one(operation, mode, share, turn)
            turn += 1

    def _one(self, operation: Any, mode: GenerationMode, examples: int, turn: int) -> None:  # noqa: ANN401
        if (operation.label, mode) in self.impossible:
            return

        @seed(turn)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(case=operation.as_strategy(generation_mode=mode), known=st.randoms(use_true_random=False))
        def ask(case: Case[Any], known: Any) -> None:  # noqa: ANN401 - random.Random
            self._send(case, known)

        try:
            ask()
        except Unsatisfiable:  # there is no wrong way to ask for it
            self.impossible.add((operation.label, mode))

    def _send(self, case: Case[Any], known: Any) -> None:  # noqa: ANN401 - as above
        for place in (case.path_parameters, case.query, case.headers):
            for name in set(place or {}) & _KNOWN.keys():
                if known.random() < 0.5:
                    place[name] = known.choice(_KNOWN[name])
        if case.query and "wait_s" in case.query:
            case.query["wait_s"] = _shorter(case.query["wait_s"])
        if isinstance(case.body, dict) and "source" in case.body and known.random() < 0.7:
            case.body["source"] = known.choice(self.sources)
        if known.random() < 0.9:  # the others show what was made up
            case.headers.pop("Authorization", None)
            case.headers.update(self.headers)
        response = case.call(session=self.session, timeout=TIMEOUT_S, allow_redirects=False)
        self.sent[f"{case.method} {case.path}"] += 1
        self.answers[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)
        request = response.request
        # Of a wrong request it may be what is wrong that it shows nothing.
        shown = request.headers.get("Authorization") == self.headers.get("Authorization")
        self.check_door(request.method, request.url, response.status_code, shown=shown)

    def check_door(self, method: str | None, url: str | None, status: int, *, shown: bool = True) -> None:
        """That the status is one that the table allows to whoever this is sent as, or to a stranger if not `shown`."""
        if self.gives is None:
            return
        needs = Table().needs(method or "", unquote(urlsplit(url or "").path))
        if self.gives is Needs.NOTHING or not shown:
            assert (status == 401) == (needs is not Needs.NOTHING), (method, url, status)
        elif needs is None:
            assert status in {307, 403, 404, 405}, (method, url, status)
        else:
            assert (status == 403) == (needs > self.gives), (method, url, status)
            assert status != 401

    def send_body(self, method: str, path: str, body: bytes, kind: str) -> None:
        """Sends this as it is."""
        headers = {**self.headers, "Content-Type": kind, "If-Match": "*"}
        url = f"{self.address}{path}?wait_s=0"
        answer = self.session.request(method, url, data=body, headers=headers, timeout=TIMEOUT_S)
        assert answer.status_code < 500, (method, path, body, answer.text)
        self.check_door(method, url, answer.status_code)


def _shorter(said: Any) -> Any:  # noqa: ANN401 - whatever was made up
    """The same, unless it is a time that would be waited for."""
    try:
        return said if not 0 <= float(said) <= 30 else min(float(said), LONGEST_WAIT_S)
    except (TypeError, ValueError):
        return said


def _artifacts(folder: Path) -> Path:
    """A few, in a folder of their own."""
    sources = folder / "sources"
    for name in ("one", "two", "three", "four"):
        folder = sources / name
        folder.mkdir(parents=True)
        (folder / "model.pt2").write_bytes(name.encode())
        (folder / "signature.json").write_text(json.dumps(SIGNATURE))
    return sources


def registered(fuzzer: Fuzzer, address: str, sources: Path) -> None:
    """Two of them are versions of a model."""
    for name in ("one", "two"):
        body = {"source": str(sources / name)}
        url = f"{address}/api/v1/registry/models/digits/versions?wait_s=20"
        assert fuzzer.session.post(url, json=body, headers=fuzzer.headers, timeout=60).status_code == 201


@pytest.fixture
def fuzzer(valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Fuzzer]:
    """A room with two versions of a model, and a few artifacts that are not registered yet."""
    sources = _artifacts(tmp_path)
    with room_process(valkey.url, f"test-{secrets.token_hex(6)}", tmp_path) as address:
        made = Fuzzer(address, sources)
        registered(made, address, sources)
        yield made
        made.session.close()


@pytest.fixture(scope="module")
def fuzzers(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Fuzzer]]:
    """The same where a key is asked of everybody: one that has none, and one of each role."""
    folder = tmp_path_factory.mktemp("guarded")
    sources = _artifacts(folder)
    with guarded_room_process(valkey.url, f"test-{secrets.token_hex(6)}", folder) as room:
        opens = {"none": Needs.NOTHING, **{role.value: gives(role) for role in Role}}
        made = {name: Fuzzer(room.address, sources, room.headers(name), needs) for name, needs in opens.items()}
        registered(made["administer"], room.address, sources)
        yield made
        for one in made.values():
            one.session.close()


def test_a_few_hundred_requests_are_answered_as_described(fuzzer: Fuzzer) -> None:
    """Every operation is asked, and there are answers of every kind."""
    fuzzer.run(SMALL)
    assert sum(fuzzer.sent.values()) >= SMALL
    assert len(fuzzer.sent) == len(fuzzer.operations())
    assert {200, 404, 422} <= fuzzer.answers.keys()


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_thousands_of_requests_are_answered_as_described(fuzzer: Fuzzer) -> None:
    """The same for long."""
    fuzzer.run(LARGE)
    assert sum(fuzzer.sent.values()) >= LARGE


NAMES = ("none", *(role.value for role in Role))


@pytest.mark.parametrize("name", NAMES)
def test_a_few_hundred_requests_of_each_role_open_what_the_table_says(fuzzers: Mapping[str, Fuzzer], name: str) -> None:
    """Every operation is asked; whoever has no key gets 401 everywhere but at health, a role 403 where it lacks one."""
    fuzzer = fuzzers[name]
    fuzzer.run(len(fuzzer.operations()) * 4)
    assert len(fuzzer.sent) == len(fuzzer.operations())
    meant = {"none": {200, 401}, "predict": {200, 403}, "operate": {200, 403, 404, 422}, "administer": {200, 404, 422}}
    assert meant[name] <= fuzzer.answers.keys()
    assert name != "administer" or 403 not in fuzzer.answers


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", NAMES)
def test_thousands_of_requests_of_each_role_open_what_the_table_says(fuzzers: Mapping[str, Fuzzer], name: str) -> None:
    """The same for long."""
    fuzzers[name].run(LARGE)
    assert sum(fuzzers[name].sent.values()) >= LARGE


_BODIES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)),
        max_leaves=20,
    ).map(lambda value: json.dumps(value).encode()),
    st.integers(1, 20_000).map(lambda depth: b"[" * depth),
    st.integers(1, 20_000).map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth),
    st.integers(65_000, 80_000).map(lambda size: b" " * size),
)
_TYPES = st.sampled_from(
    ["application/json", "application/merge-patch+json", "text/plain", "", "application/xml", "a;b"]
)


def any_bodies(fuzzers: Mapping[str, Fuzzer], examples: int) -> None:
    """Sends what nobody described, to every operation, as whoever may do most and as whoever may do nothing."""
    operations = [path_of(one.label) for one in fuzzers["administer"].operations()]
    seldom = list(HealthCheck)

    @seed(0)
    @settings(
        max_examples=examples, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=seldom
    )
    @given(body=_BODIES, kind=_TYPES, name=st.sampled_from(["administer", "none"]))
    def send(body: bytes, kind: str, name: str) -> None:
        for method, path in operations:
            fuzzers[name].send_body(method, path, body, kind)

    send()


def test_bodies_that_nobody_described_break_nothing_and_open_nothing(fuzzers: Mapping[str, Fuzzer]) -> None:
    """Binary, nested, large, of other types: an answer of the sender's each time, and 401 to a stranger before all."""
    any_bodies(fuzzers, 10)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_thousands_of_bodies_that_nobody_described_break_nothing(fuzzers: Mapping[str, Fuzzer]) -> None:
    """The same for long."""
    any_bodies(fuzzers, 200)
