"""What kills Triton over gRPC: through the gateway it does no harm, or ends in an error that says to try again."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving import child
from tests.conformance.grpc.calls import Outcome, Vector, ask, dial, parsed
from tests.conformance.grpc.messages import INFER, SERVICE, STREAM, Tensor, infer
from tests.conformance.grpc.streams import failing
from tests.conformance.http.requests import strings
from tests.conformance.servers import Running, triton
from tests.conformance.servers import pair as running
from tests.e2e.system import until

pytestmark = pytest.mark.e2e

_BY_STATUS = Vector("errors by status", STREAM, (failing(3, 1),), metadata=(("triton_grpc_error", "true"),))
_STRINGS = infer("echo", Tensor("BYTES", (1,), strings(b"a")), outputs=[("bytes", {"classification": 1})])
_CLASSES = Vector("classes of strings", INFER, (_STRINGS,))
_LIVE = Vector("live", f"{SERVICE}ServerLive", (b"",))


def asked(server: Running, vector: Vector) -> Outcome:
    """What the server answers."""
    with dial(f"127.0.0.1:{server.grpc}") as channel:
        return ask(channel, vector)


def check_kills(folder: Path, model: str, vector: Vector) -> None:
    """Triton alone ends of it."""
    folder.mkdir()
    with triton(folder, [model]) as server:
        assert asked(server, vector).code != "OK"
        until(lambda: not child.alive(server.process), "the end of Triton", 10.0)


def test_errors_by_status_kill_triton_and_not_what_is_behind_the_gateway(tmp_path: Path) -> None:
    """A model's error on a stream whose client wants it as its status: through the gateway it comes as an answer."""
    check_kills(tmp_path / "alone", "repeat", _BY_STATUS)
    with running(tmp_path / "pair", ["repeat"]) as pair:
        first, last = (asked(pair.worker, _BY_STATUS) for _ in range(2))
        assert pair.triton_lives
    assert first == last
    assert first.code == "OK"
    messages = [parsed(STREAM, message) for message in first.messages]
    assert [getattr(message, "error_message", None) for message in messages] == ["", "failed at step 1, as asked"]


def test_a_call_that_kills_triton_is_answered_all_the_same(tmp_path: Path) -> None:
    """What no gateway can know beforehand ends in an error that says to try again, and the gateway lives."""
    check_kills(tmp_path / "alone", "echo", _CLASSES)
    with running(tmp_path / "pair", ["echo"]) as pair:
        behind = asked(pair.worker, _CLASSES)
        assert behind.code == "UNAVAILABLE"
        assert "try again" in behind.details
        assert asked(pair.worker, _LIVE).code == "OK"
