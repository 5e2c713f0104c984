"""An issuer of tokens that does what it is told: publishes other keys, goes away, comes back.

It answers in a thread of its own, so that it is there while the installation starts, and notes when it showed which
keys: from then on whoever asked goes by them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

NAME = "https://issuer.example"
AUDIENCE = "sluice"
ALGORITHM = "RS256"
_BITS = 2_048
_HOUR_S = 3_600


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What the issuer signs with."""

    kid: str
    _private: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65_537, key_size=_BITS), repr=False
    )

    @property
    def published(self) -> dict[str, Any]:
        """Its public half, as a set of keys has it (RFC 7517)."""
        return {**RSAAlgorithm.to_jwk(self._private.public_key(), as_dict=True), "kid": self.kid, "use": "sig"}

    def token(self, subject: str) -> str:
        """A token for somebody who may predict, good for an hour."""
        now_s = int(time.time())
        claims = {
            "iss": NAME, "aud": AUDIENCE, "sub": subject, "iat": now_s, "exp": now_s + _HOUR_S,
            "sluice_role": "predict",
        }  # fmt: skip
        return jwt.encode(claims, self._private, algorithm=ALGORITHM, headers={"kid": self.kid})


class Issuer:
    """What it publishes now, and what was fetched of it.

    Attributes:
        url: where its set of keys is.
        away: while it is, whoever asks is hung up on.
        in_vain: how often somebody asked meanwhile.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/jwks"
        self.away = False
        self.in_vain = 0
        self._keys: tuple[SigningKey, ...] = ()
        self._fetched: list[tuple[float, frozenset[str]]] = []

    def publish(self, *keys: SigningKey) -> None:
        """From now on these are its keys."""
        self._keys = keys

    def fetched_without(self, kid: str, after_s: float) -> float | None:
        """When a set without this key was first fetched, seconds of the monotonic clock; None while none was.

        Args:
            kid: the key's name.
            after_s: sets that were fetched before this do not count.
        """
        return next((at_s for at_s, kids in self._fetched if at_s >= after_s and kid not in kids), None)

    def answer(self) -> bytes | None:
        """What whoever asks now gets; None for nothing at all."""
        if self.away:
            self.in_vain += 1
            return None
        keys = self._keys
        self._fetched.append((time.monotonic(), frozenset(key.kid for key in keys)))
        return json.dumps({"keys": [key.published for key in keys]}).encode()


@contextmanager
def issuer(keys: Collection[SigningKey]) -> Iterator[Issuer]:
    """One that publishes these, for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = running.answer()
            if body is None:
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing: who asked is noted above."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = Issuer(server.server_port)
        running.publish(*keys)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
