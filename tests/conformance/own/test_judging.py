"""What the kit lets pass of a server that is neither Triton nor Sluice, and what it does not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tritonclient.grpc import service_pb2 as triton

from tests.conformance.grpc import judging as over_grpc
from tests.conformance.grpc.calls import Outcome as Called
from tests.conformance.grpc.calls import Vector as Call
from tests.conformance.grpc.messages import INFER, Tensor, encoded, infer
from tests.conformance.http.exchange import After, Outcome, Vector, outcome
from tests.conformance.http.judging import judge
from tests.conformance.http.vectors import vectors
from tests.conformance.http.wire import Answer
from tests.conformance.recording import Recording
from tests.conformance.targets import Column, Place

VECTORS = {vector.name: vector for vector in vectors()}
KNOWN = {
    name: outcome(plain)
    for name, plain in json.loads((Path(__file__).parents[1] / "recorded" / "http.json").read_text()).items()
}
FINE = VECTORS["infer"]


def told(vector: Vector, body: bytes, code: int = 200, column: Column = Column.PROTOCOL, **headers: str) -> None:
    """Judges one answer of that body."""
    given = (
        ("content-type", "application/json"),
        *((name.replace("_", "-"), value) for name, value in headers.items()),
    )
    judge(column, vector, KNOWN[vector.name], Outcome((Answer(code, "X", given, body),), After.OPEN))


def bent(change: Callable[[dict[str, object]], object]) -> bytes:
    """The good answer with something else in it."""
    document = json.loads(KNOWN["infer"].answers[0].body)
    change(document["outputs"][0])
    return json.dumps({"id": "", **document}, indent=1).encode()


@pytest.mark.parametrize("name", VECTORS)
def test_triton_keeps_the_protocol(name: str) -> None:
    """What is recorded of Triton passes as any server's."""
    judge(Column.PROTOCOL, VECTORS[name], KNOWN[name], KNOWN[name])


def test_the_same_values_may_be_written_otherwise() -> None:
    """Spaces, order, further members and compression are the server's own affair, in the protocol's column alone."""
    same = bent(lambda output: output.update(parameters={"mine": 1}))
    told(FINE, same)
    told(FINE, gzip.compress(same), content_encoding="gzip")
    for column in (Column.TRITON, Column.GATEWAY):
        with pytest.raises(AssertionError):
            told(FINE, same, column=column)


@pytest.mark.parametrize(
    "change",
    [
        lambda output: output.update(data=[1.0, 3.0]),
        lambda output: output.update(shape=[1, 2]),
        lambda output: output.update(datatype="FP64"),
        lambda output: output.update(name="other"),
        lambda output: output.pop("data"),
    ],
    ids=["data", "shape", "datatype", "name", "nothing"],
)
def test_other_values_fail(change: Callable[[dict[str, object]], object]) -> None:
    """Name, datatype, shape and data of an output are what was asked for."""
    with pytest.raises(AssertionError):
        told(FINE, bent(change))


def test_an_error_in_place_of_values_fails_and_so_do_values_in_place_of_an_error() -> None:
    """Good requests are answered; bad ones are refused, by any status and any sentence, but in a sentence."""
    with pytest.raises(AssertionError):
        told(FINE, b'{"error": "no"}', 400)
    malformed = VECTORS["malformed JSON"]
    told(malformed, b'{"error": "another sentence"}', 422)
    with pytest.raises(AssertionError):
        told(malformed, b"{}", 422)
    with pytest.raises(AssertionError):
        told(malformed, b"{}")


def test_a_server_that_hangs_fails() -> None:
    """Whoever neither answers nor closes does not keep the protocol."""
    with pytest.raises(AssertionError):
        judge(Column.PROTOCOL, FINE, KNOWN["infer"], Outcome((), After.WAITS))
    with pytest.raises(AssertionError):
        judge(Column.PROTOCOL, FINE, KNOWN["infer"], Outcome((), After.CLOSED))


def test_the_gateways_own_answer_is_held_to_its_case() -> None:
    """Status, sentence, and `Allow` where a method is wrong."""
    wrong = VECTORS["PUT infer"]
    said = b'{"error": "PUT is not offered at this path: use POST."}'
    told(wrong, said, 405, Column.GATEWAY, allow="POST")
    for code, headers in ((405, {}), (404, {"allow": "POST"})):
        with pytest.raises(AssertionError):
            told(wrong, said, code, Column.GATEWAY, **headers)


def answered(raw: bytes | None, *typed: float, code: str = "OK", **more: object) -> Called:
    """An answer of `echo` over gRPC."""
    response = triton.ModelInferResponse(model_name="echo", **more)
    output = response.outputs.add(name="fp32", datatype="FP32", shape=[2])
    output.contents.fp32_contents.extend(typed)
    if raw is not None:
        response.raw_output_contents.append(raw)
    return Called(code, "", (encoded(response),))


def test_outputs_over_grpc_may_be_typed_or_raw(tmp_path: Path) -> None:
    """The same values pass in either field; other values, another id or an error do not."""
    raw = b"\0\0\x80?\0\0\0@"
    vector = Call("infer", INFER, (infer("echo", Tensor("FP32", (2,), raw)),))
    recording = Recording(tmp_path / "recorded.json", renew=True)
    recording.check(vector.name, answered(raw).plain(vector))
    over_grpc.judge(Column.PROTOCOL, vector, recording, answered(None, 1.0, 2.0))
    with pytest.raises(AssertionError):
        over_grpc.judge(Column.TRITON, vector, recording, answered(None, 1.0, 2.0))
    for bad in (answered(None, 1.0, 3.0), answered(raw, id="other"), answered(raw, code="INTERNAL")):
        with pytest.raises(AssertionError):
            over_grpc.judge(Column.PROTOCOL, replace(vector), recording, bad)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "grpc://a:1", "http://a/v2", "http://", "http://a?b"])
def test_an_endpoint_is_the_root_of_a_server(url: str) -> None:
    """What is no URL of one is refused with a sentence that shows a right one."""
    with pytest.raises(ValueError, match="name one such as"):
        Place.from_url(url)


def test_a_place_is_read_and_written() -> None:
    """Ports have their defaults, and addresses of IPv6 their brackets."""
    assert Place.from_url("https://a/") == ("a", 443, True)
    assert Place.from_url("http://[::1]:8000").authority == "[::1]:8000"
    assert Place.from_url("http://a").url == "http://a:80"
