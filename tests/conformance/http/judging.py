"""Whether what came of a vector is what its column says."""

from __future__ import annotations

import json
import zlib
from typing import Any

from tests.conformance.http.exchange import After, Outcome, Own, Vector
from tests.conformance.http.requests import JSON_LENGTH
from tests.conformance.http.wire import Answer
from tests.conformance.targets import Column

_FIRST_ERROR = 400
_DIFFER = frozenset(("parameters", "extensions", "versions", "platform", "name", "version"))
"""Members of a document that two servers fill differently, and both are right."""


def judge(column: Column, vector: Vector, triton: Outcome, got: Outcome) -> None:
    """Fails where the outcome is not what the column says.

    Args:
        column: by which it is judged.
        vector: what was sent.
        triton: what Triton 2.51 answers, as recorded.
        got: what came.
    """
    if column is Column.PROTOCOL:
        check_protocol(vector, triton, got)
    elif column is Column.GATEWAY and vector.gateway is not None:
        check_own(vector.gateway, got, vector)
    else:
        assert got == triton, f"{vector.name}: not what Triton 2.51 answers"


def check_own(own: Own, got: Outcome, vector: Vector) -> None:
    """The gateway answered by itself, as the protocol says."""
    assert got.after == own.after, got
    assert len(got.answers) == vector.count
    for answer in got.answers:
        assert answer.code == own.code, answer
        assert answer.header("content-type") == "application/json"
        assert (answer.header("allow") or "") == own.allow
        if vector.method == "HEAD":
            assert answer.body == b""
        elif own.document is not None:
            assert json.loads(answer.body) == own.document
        else:
            said = json.loads(answer.body)
            assert set(said) == {"error"}
            assert own.says in said["error"]


def check_protocol(vector: Vector, triton: Outcome, got: Outcome) -> None:
    """Where Triton answers with values, so does the server, with the same; where it errs, an error with a sentence.

    Where the gateway's answer is of another kind than Triton's (it takes what Triton does not, or the other way
    round), both are right.
    """
    assert got.after is not After.WAITS or triton.after is After.WAITS, "the server neither answers nor closes"
    for number, answer in enumerate(got.answers):
        known = triton.answers[number] if number < len(triton.answers) else None
        if _is_error(answer):
            assert known is None or _is_error(known) or vector.gateway, f"an error in place of values: {answer}"
            _check_error(answer, vector)
        elif vector.gateway is None and known is not None:
            assert not _is_error(known), f"taken, though Triton says {known.body!r}"
            _check_values(known, answer)
    if not got.answers:
        assert not triton.answers or vector.gateway, "the connection ends without an answer"


def _is_error(answer: Answer) -> bool:
    return answer.code >= _FIRST_ERROR


def _check_error(answer: Answer, vector: Vector) -> None:
    if vector.method != "HEAD" and (answer.header("content-type") or "").startswith("application/json"):
        assert isinstance(json.loads(answer.body).get("error"), str), answer


def _check_values(known: Answer, answer: Answer) -> None:
    """The same values, though written otherwise."""
    known, answer = _inflated(known), _inflated(answer)
    if not known.body or answer.body == known.body:
        return
    assert _is_json(known)
    (expected, tensors), (said, came) = _parts(known), _parts(answer)
    assert came == tensors
    assert _essential(said, expected) == _essential(expected, expected)


def _inflated(answer: Answer) -> Answer:
    """The answer as it was before it was compressed."""
    coding = answer.header("content-encoding")
    if coding not in {"gzip", "deflate"}:
        return answer
    return answer._replace(body=zlib.decompress(answer.body, wbits=zlib.MAX_WBITS | 32))


def _is_json(answer: Answer) -> bool:
    kind = answer.header("content-type") or ""
    return kind.startswith("application/json") or answer.header(JSON_LENGTH.lower()) is not None


def _parts(answer: Answer) -> tuple[Any, bytes]:
    """The JSON of an answer, and the tensors after it."""
    length = int(answer.header(JSON_LENGTH.lower()) or len(answer.body))
    return json.loads(answer.body[:length].decode("utf-8", "surrogateescape")), answer.body[length:]


def _essential(said: Any, expected: Any) -> Any:  # noqa: ANN401 (what JSON holds)
    """What of a document must be there: the members that Triton's has, but for those that may differ."""
    if isinstance(expected, dict) and isinstance(said, dict):
        return {
            name: _essential(said[name], wanted)
            for name, wanted in expected.items()
            if name in said and name not in _DIFFER - ({"name"} if "datatype" in expected else set())
        } | {name: None for name in expected if name not in said and name not in _DIFFER}
    if isinstance(expected, list) and isinstance(said, list) and len(said) == len(expected):
        return [_essential(one, wanted) for one, wanted in zip(said, expected, strict=True)]
    return said
