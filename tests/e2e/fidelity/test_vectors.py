"""The vectors of the conformance kit one after another on one connection, and what no vector can say.

What kills Triton is here as well, for the kit may be aimed at servers that others need.
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import child
from tests.conformance.http import vectors as table
from tests.conformance.http.exchange import After, Vector, as_seen, ask, send
from tests.conformance.http.requests import FINE, document, nested, post, tensor
from tests.conformance.http.wire import Connection
from tests.conformance.recording import Recording
from tests.conformance.servers import Pair, triton
from tests.conformance.servers import pair as running
from tests.conformance.targets import Column, Place
from tests.e2e.system import until

pytestmark = pytest.mark.e2e

VECTORS = table.vectors()
_WAIT_MS = 1_500
_A_MOMENT_S = 0.1
_LARGE = 64 * 1024
_LEVELS = nested(250_000)
_DEADLY = {
    "250,000 levels": post(_LEVELS),
    "250,000 levels, gzip": post(gzip.compress(_LEVELS, mtime=0), "Content-Encoding: gzip"),
    "accepts with a quality beyond a double": post(FINE, "Accept-Encoding: gzip;q=1e999"),
    "accepts with a quality below a double": post(FINE, "Accept-Encoding: gzip;q=1e-999"),
}
"""Requests that a gateway can tell from good ones."""
_STRINGS = document(tensor("BYTES", ["a"]), outputs=[{"name": "bytes", "parameters": {"classification": 1}}])
_LETHAL = {"classes of strings": post(_STRINGS)}
"""Requests that it cannot."""


def test_what_kills_triton_is_recorded(recording: Recording) -> None:
    """The tables and the recording list the same requests."""
    assert recording.renew or recording.names() == {*_DEADLY, *_LETHAL}


def test_one_connection_carries_them_all(pair: Pair) -> None:
    """Every answer is Triton's still when all vectors follow one another on one connection, errors between them."""
    simple = [vector for vector in VECTORS if vector.is_simple]
    carried = 0
    connection = Connection(pair.gateway)
    try:
        for vector in simple:
            alone = ask(pair.triton, vector, Column.TRITON)
            send(connection, vector)
            answer = connection.answer(vector.method)
            assert answer is not None, vector.name
            assert as_seen(answer, vector) == alone.answers[0], vector.name
            carried += 1
            if alone.after is After.CLOSED:
                assert connection.ends()
                connection.close()
                connection = Connection(pair.gateway)
    finally:
        connection.close()
    assert carried > 100


def test_pipelined_vectors_are_answered_in_order(pair: Pair) -> None:
    """All of them again, now sent without waiting for an answer.

    Who has its body there when its turn comes is not told to go on, so interim answers are left out.
    """
    simple = [vector for vector in VECTORS if vector.is_simple and len(vector.sent) < _LARGE]
    alone = [ask(pair.triton, vector, Column.TRITON) for vector in simple]
    lasting = [(vector, one) for vector, one in zip(simple, alone, strict=True) if one.after is After.OPEN]
    with Connection(pair.gateway) as connection:
        sender = threading.Thread(target=_send_all, args=(connection, [vector for vector, _ in lasting]))
        sender.start()
        try:
            for vector, one in lasting:
                answer = connection.answer(vector.method)
                assert answer is not None, vector.name
                seen, expected = as_seen(answer, vector), one.answers[0]
                assert seen._replace(interim=()) == expected._replace(interim=()), vector.name
        finally:
            sender.join()


def _send_all(connection: Connection, all_of_them: list[Vector]) -> None:
    for vector in all_of_them:
        send(connection, vector)


def test_the_gateway_adds_four_headers_and_no_more(pair: Pair) -> None:
    """A relayed answer says which version gave it, why, by which epoch, and the request's id."""
    vector = next(vector for vector in VECTORS if vector.name == "infer")
    with Connection(pair.gateway) as connection:
        send(connection, vector)
        answer = connection.answer()
    assert answer is not None
    added = {name for name, _ in answer.headers} - {"content-type"}
    assert added == {"sluice-version", "sluice-request-id", "sluice-reason", "sluice-epoch"}


def test_a_stream_is_relayed_event_by_event(pair: Pair) -> None:
    """The first word is there before the model has said the last."""
    said = {}
    for place in (pair.triton, pair.gateway):
        with Connection(place) as connection:
            connection.send(post(b'{"text": "one two three"}', target="/v2/models/words/generate_stream"))
            said[place] = connection.until_it_says(b'"word":"one"')
    assert all(b"three" not in came for came in said.values())


def _counts(place: Place) -> dict[str, int]:
    """What `counter` says: how many executions were begun, and how many given up."""
    with Connection(place) as connection:
        connection.send(_counted(0))
        answer = connection.answer()
    assert answer is not None
    assert answer.code == 200
    return {output["name"]: output["data"][0] for output in json.loads(answer.body)["outputs"]}


def _counted(wait_ms: int) -> bytes:
    waits = {"name": "wait_ms", "datatype": "INT64", "shape": [1], "data": [wait_ms]}
    return post(document(waits), target="/v2/models/counter/infer")


def test_an_inference_runs_once(pair: Pair) -> None:
    """The gateway sends a request to the model once."""
    begun = [_counts(place)["begun"] for place in (pair.triton, pair.gateway, pair.triton)]
    assert begun == list(range(begun[0], begun[0] + 3))


def test_a_client_that_leaves_frees_its_place(pair: Pair) -> None:
    """Its connection to Triton is closed, and others are served, while the model is still at what it asked."""
    held = _leave(pair, pair.gateway)
    until(lambda: pair.upstream_connections() < held, "the end of the connection to Triton", 5.0)
    prompt = ask(pair.gateway, Vector("prompt", (post(FINE),)), Column.GATEWAY)
    still_at_work = time.monotonic()
    _counts(pair.gateway)
    worked_on_s = time.monotonic() - still_at_work
    assert prompt.answers[0].code == 200
    assert worked_on_s > _A_MOMENT_S, "the model was done before the place was free"


def test_a_client_that_leaves_is_to_triton_what_it_was(pair: Pair) -> None:
    """Triton 2.51 ends an inference whose HTTP client is gone as it began it: alone, and behind the gateway."""
    became = []
    for place in (pair.triton, pair.gateway):
        before = _counts(place)
        _leave(pair, place)
        after = _counts(place)
        became.append({name: after[name] - before[name] for name in after})
    assert became[1] == became[0]
    assert became[0]["begun"] == 2


def _leave(pair: Pair, place: Place) -> int:
    """Asks for a long inference and goes; how many connections the gateway held to Triton meanwhile."""
    with Connection(place) as leaving:
        leaving.send(_counted(_WAIT_MS))
        time.sleep(3 * _A_MOMENT_S)
        return pair.upstream_connections()


@pytest.fixture(scope="module")
def endangered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A pair of its own: should the gateway let one through, no other test loses its Triton by it."""
    with running(tmp_path_factory.mktemp("endangered"), ["echo"]) as pair:
        yield pair


@pytest.mark.parametrize("name", _DEADLY)
def test_what_surely_kills_triton_never_reaches_it(
    endangered: Pair, tmp_path: Path, recording: Recording, name: str
) -> None:
    """Such a request kills Triton alone; through the gateway it harms nobody."""
    vector = Vector(name, (_DEADLY[name],))
    check_kills(tmp_path / "alone", recording, vector)
    behind = ask(endangered.gateway, vector, Column.GATEWAY)
    codes = [answer.code for answer in behind.answers]
    assert endangered.triton_lives, f"the gateway answered {codes}, and Triton is dead"
    assert (codes, behind.after) in (([200], After.OPEN), ([400], After.OPEN))


@pytest.mark.parametrize("name", _LETHAL)
def test_a_body_that_kills_triton_is_answered_all_the_same(tmp_path: Path, recording: Recording, name: str) -> None:
    """What no gateway can know beforehand ends in an error that says to try again, and the gateway lives."""
    vector = Vector(name, (_LETHAL[name],))
    check_kills(tmp_path / "alone", recording, vector)
    with running(tmp_path / "pair", ["echo"]) as pair:
        behind = ask(pair.gateway, vector, Column.GATEWAY)
        (answer,) = behind.answers
        assert answer.code in {502, 503}
        assert behind.after is After.OPEN


def check_kills(folder: Path, recording: Recording, vector: Vector) -> None:
    """Triton alone ends without an answer."""
    folder.mkdir()
    with triton(folder, ["echo"]) as server:
        recording.check(vector.name, ask(server.http, vector, Column.TRITON).plain())
        until(lambda: not child.alive(server.process), "the end of Triton", 10.0)
