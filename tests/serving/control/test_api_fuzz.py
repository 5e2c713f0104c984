"""Thousands of requests that the description allows, and as many that it forbids: every answer is one it describes.

The application is the real one, in a process of its own, on a real Valkey; only the servers that try versions out are
not there. Sources, artifacts and scratch lie in a folder of the test's own, and nothing outside it is admitted.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

from serving.control.valkey import EmbeddedValkey
from tests.serving.control.room_processes import room_process
from tests.serving.control.workshops import SIGNATURE

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
TIMEOUT_S = 15
LONGEST_WAIT_S = 0.2
SMALL, LARGE = 300, 5_000
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
    """

    def __init__(self, address: str, sources: Path) -> None:
        self.schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        self.session = requests.Session()
        self.session.trust_env = False
        self.sources = [str(path) for path in sorted(sources.iterdir())]
        self.sent: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.impossible: set[tuple[str, GenerationMode]] = set()

    def operations(self) -> list[Any]:
        """All that can be asked."""
        found = list(self.schema.get_all_operations())
        assert all(isinstance(one, Ok) for one in found), "the description itself is wrong"
        return [one.ok() for one in found if isinstance(one, Ok)]

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
        response = case.call(session=self.session, timeout=TIMEOUT_S)
        self.sent[f"{case.method} {case.path}"] += 1
        self.answers[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)


def _shorter(said: Any) -> Any:  # noqa: ANN401 - whatever was made up
    """The same, unless it is a time that would be waited for."""
    try:
        return said if not 0 <= float(said) <= 30 else min(float(said), LONGEST_WAIT_S)
    except (TypeError, ValueError):
        return said


@pytest.fixture
def fuzzer(valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Fuzzer]:
    """A room with two versions of a model, and a few artifacts that are not registered yet."""
    sources = tmp_path / "sources"
    for name in ("one", "two", "three", "four"):
        folder = sources / name
        folder.mkdir(parents=True)
        (folder / "model.pt2").write_bytes(name.encode())
        (folder / "signature.json").write_text(json.dumps(SIGNATURE))
    with room_process(valkey.url, f"test-{secrets.token_hex(6)}", tmp_path) as address:
        made = Fuzzer(address, sources)
        for name in ("one", "two"):
            body = {"source": str(sources / name)}
            url = f"{address}/api/v1/registry/models/digits/versions?wait_s=20"
            assert made.session.post(url, json=body, timeout=60).status_code == 201
        yield made
        made.session.close()


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
