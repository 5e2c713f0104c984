"""Whether what came of a call is what its column says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as triton

from tests.conformance.grpc.calls import CUT, Outcome, Own, Vector, parsed
from tests.conformance.grpc.messages import INFER, STREAM, values
from tests.conformance.recording import Recording
from tests.conformance.targets import Column

_OK = "OK"
_KINDS: Mapping[str, type[Message]] = {INFER: triton.ModelInferResponse, STREAM: triton.ModelStreamInferResponse}


def judge(column: Column, vector: Vector, recording: Recording, got: Outcome) -> None:
    """Fails where the outcome is not what the column says.

    Args:
        column: by which it is judged.
        vector: what was sent.
        recording: of what Triton 2.51 answers.
        got: what came.
    """
    known = recording.known(vector.name)
    if column is Column.PROTOCOL:
        check_protocol(vector, known, got)
    elif column is Column.GATEWAY and vector.gateway is not None:
        check_own(vector.gateway, vector, known, got)
    else:
        assert got.plain(vector) == known, f"{vector.name}: not what Triton 2.51 answers"


def check_own(own: Own, vector: Vector, known: Mapping[str, Any], got: Outcome) -> None:
    """The gateway answered by itself, as the protocol says; a message of a stream in an answer that is an error."""
    said = [parsed(vector.method, one) or one for one in got.messages]
    assert got.code == own.code, got
    if own.version:
        assert said == [_naming(own.version, text) for text in known["messages"]]
    elif own.code == _OK and own.says:
        (only,) = said
        assert own.says in _error(only)
    else:
        assert own.says in got.details
        assert said == list(own.messages)


def _naming(version: str, text: str) -> Message:
    """Triton's answer on a stream with the version in it."""
    answer = triton.ModelStreamInferResponse()
    text_format.Parse(text, answer)
    answer.infer_response.model_version = version
    return answer


def check_protocol(vector: Vector, known: Mapping[str, Any], got: Outcome) -> None:
    """Where Triton answers with values, so does the server, with the same, typed or raw; where it errs, an error.

    Where the gateway's answer is of another kind than Triton's, both are right.
    """
    if vector.gateway is None:
        assert (got.code == _OK) == (known["status"] == _OK), f"{got.code} ({got.details}), not {known['status']}"
        if vector.method in _KINDS and not any(CUT in text for text in known["messages"]):
            expected = [text_format.Parse(text, _KINDS[vector.method]()) for text in known["messages"]]
            said = [parsed(vector.method, message) for message in got.messages]
            assert [_essential(one) for one in said] == [_essential(one) for one in expected]


def _essential(message: Any) -> Any:  # noqa: ANN401 (an answer, of a stream or not)
    """The id and the outputs of an answer; of one on a stream, whether it is an error instead."""
    if getattr(message, "error_message", ""):
        return "an error"
    answer = getattr(message, "infer_response", message)
    return answer.id, values(answer)


def _error(message: Any) -> str:  # noqa: ANN401 (an answer on a stream)
    return str(getattr(message, "error_message", ""))
