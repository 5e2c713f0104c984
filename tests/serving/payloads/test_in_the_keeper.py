"""The real keeper's process keeps what a worker hands over, and finishes its files when it is told to end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from router.policy import WHOLE
from serving.captured import Kind, framed
from serving.control.credentials import NONE
from serving.gateway.capture import Capture
from serving.keeping.config import KeeperConfig
from serving.payloads.files import finished_in
from serving.payloads.reading import KeptRow, rows_in
from serving.payloads.replaying import Pace, replay
from serving.payloads.rules import PayloadRules
from serving.payloads.sending import Gateway
from tests.serving.gateway.rig import eventually, running
from tests.serving.gateway.upstream import answers
from tests.serving.gateway.wire import ok, post
from tests.serving.payloads.made import PLAIN, answered, body, captured, rules


@contextmanager
def keeper(folder: Path, log: PayloadRules) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """The process, and the socket that workers connect to."""
    folder.mkdir(mode=0o700)
    line = KeeperConfig("gw", str(folder / "k"), payloads=json.loads(log.to_json())).to_json()
    process = subprocess.Popen([sys.executable, "-m", "serving.keeping"], stdin=subprocess.PIPE)
    try:
        assert process.stdin is not None
        process.stdin.write(line.encode() + b"\n")
        process.stdin.close()
        yield folder / "k", process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def rows(log: Path) -> list[KeptRow]:
    """What is in files."""
    return list(rows_in(one.path for one in finished_in(log)))


def connected(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    """A worker's end of the stream, as soon as the keeper listens."""
    deadline_s = time.monotonic() + 120
    while True:
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(str(path))
        except OSError:
            made.close()
            assert process.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        else:
            return made


def test_the_keeper_keeps_errors_disagreements_and_a_share(tmp_path: Path) -> None:
    """Of a share of nothing: the failure, and the pair that differs by the usual rules; not the pair that agrees."""
    log = tmp_path / "log"
    other = answered(2, body=body("outputs", score=("FP32", [0.25, 0.9])))
    said = [
        captured(1),
        captured(2, copies=(answered(2),)),
        captured(3, copies=(other,)),
        captured(4, first=answered(outcome="server_error", code=500)),
    ]
    with keeper(tmp_path / "s", rules(log, share_ppm=0, redact=("card",))) as (path, process):
        with connected(path, process) as worker:
            worker.sendall(b"".join(framed(Kind.CAPTURED, one.encode()) for one in said))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    found = rows(log)
    assert sorted((row.about["nonce"], row.about["role"], row.about["kept"]) for row in found) == [
        (3, "first", "disagreement"), (3, "shadow", "disagreement"), (4, "first", "error"),
    ]  # fmt: skip
    assert all(row.hidden == {"card"} for row in found)
    assert list(log.rglob("*.part")) == []


async def test_from_the_gateways_door_to_a_file_and_back(tmp_path: Path) -> None:
    """Real worker, real keeper: each request once, under the id that its client got; a replay is answered the same.

    What is replayed is synthetic, so it is not kept again. A keeper that is killed takes what it had not finished with
    it, and nobody's answer.
    """
    log = tmp_path / "log"
    asked = [post("/v2/models/m/infer", body("inputs", amount=("FP32", [float(one), 1.0]))) for one in range(12)]
    with keeper(tmp_path / "s", rules(log, file_s=0.1)) as (path, process):
        with connected(path, process):
            pass
        async with running(keeper_socket=str(path), payload_share_ppm=WHOLE) as rig:
            capture = rig.worker.capture
            assert isinstance(capture, Capture)
            await eventually(lambda: capture._line, 120)
            rig.upstream.usual = answers(ok(PLAIN, ["Content-Type: application/json"]))
            ids = {((await rig.ask(one)).one("sluice-request-id") or b"").decode() for one in asked}
            await eventually(lambda: len(rows(log)) == 12, 120)
            assert {row.about["request_id"] for row in rows(log)} == ids
            gateway = Gateway(f"http://127.0.0.1:{rig.port}", "m", 1, credentials=NONE, at_once=4)
            async with gateway:
                summary = await replay(rows(log), gateway.send, Pace(0.0, 4, {}))
            assert (summary.sent, summary.same, summary.good, gateway.marked) == (12, 12, True, True)
            assert (await rig.ask(asked[0])).code == 200
            await eventually(lambda: len(rows(log)) > 12, 120)
            process.kill()
            process.wait()
            assert (await rig.ask(asked[0])).code == 200
    found = rows(log)
    assert len(found) == len({row.about["request_id"] for row in found}) == 13
