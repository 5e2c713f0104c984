"""The old version is asked through the gateway: what that refuses is told with its status, silence without one."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from serving.control.credentials import NONE
from serving.errors import ControlError
from serving.trainer.asking import answers_of
from serving.trainer.steps import is_passing


class Refusing(BaseHTTPRequestHandler):
    """A gateway that refuses everything with the status that its server has; with 0 it breaks off."""

    def do_POST(self) -> None:
        """Refuses it."""
        self.rfile.read(int(self.headers["content-length"]))
        if not self.server.status:  # type: ignore[attr-defined]
            return
        body = json.dumps({"error": "no"}).encode()
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def gateway() -> Iterator[HTTPServer]:
    """One of those."""
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refused(port: int) -> ControlError:
    """What comes of asking there."""
    with pytest.raises(ControlError, match="version 1 of digits does not answer") as caught:
        answers_of(f"http://127.0.0.1:{port}", "digits", 1, np.zeros((2, 64), np.float32), NONE)
    return caught.value


@pytest.mark.parametrize(("status", "passing"), [(404, False), (403, False), (429, True), (503, True)])
def test_a_refusal_has_its_status(gateway: HTTPServer, status: int, *, passing: bool) -> None:
    """A version that is gone stays gone: asking again and again would hold up every later episode."""
    gateway.status = status  # type: ignore[attr-defined]
    error = refused(gateway.server_port)
    assert (error.status, is_passing(error)) == (status, passing)


def test_silence_has_none(gateway: HTTPServer) -> None:
    """A gateway that breaks off, or is not there, may be well in a moment."""
    gateway.status = 0  # type: ignore[attr-defined]
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        errors = [refused(port) for port in (gateway.server_port, nobody.getsockname()[1])]
    assert [(error.status, is_passing(error)) for error in errors] == [(None, True)] * 2
