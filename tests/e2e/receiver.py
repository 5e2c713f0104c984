"""A server that gates and webhooks reach: what it was sent, and what it answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GATE, HOOK = "/gate", "/hook"


@dataclass(frozen=True)
class Received:
    """One POST: its path, its headers by name in lower case, and its body."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def said(self) -> dict[str, Any]:
        """The body's JSON."""
        return dict(json.loads(self.body))

    def signed_with(self, secret: str) -> bool:
        """Whether the signature is that of Standard Webhooks: HMAC-SHA256 of id, time and body, in base64."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = b".".join((self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), self.body))
        wanted = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        return wanted in self.headers["webhook-signature"].split(" ")


@dataclass
class Receiver:
    """What came, and what the gate says.

    Attributes:
        origin: where it listens, as settings name it.
        gate: the status that a gate is answered with; hooks get 204.
    """

    origin: str = ""
    gate: int = 204
    _received: list[Received] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, received: Received) -> int:
        """Notes it; the status of the answer."""
        with self._lock:
            self._received.append(received)
        return self.gate if received.path == GATE else 204

    def at(self, path: str) -> list[Received]:
        """What came there so far."""
        with self._lock:
            return [one for one in self._received if one.path == path]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """One that listens on a free port for as long as the block lasts."""
    heard = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(heard.hear(Received(self.path, headers, body)))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing: tests look at what came."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        heard.origin = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield heard
        finally:
            server.shutdown()
            thread.join()
