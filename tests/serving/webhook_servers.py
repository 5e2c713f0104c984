"""A server that webhooks reach, as well or as badly as a test says, and what it processed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from drift.webhooks import Event, Unverified, verify

_SLOW_S = 0.4
_HUGE = 70 * 1024


class Mood(Enum):
    """How it answers."""

    WELL = "well"
    SLOW = "slow"
    FAILING = "500"
    REDIRECTING = "redirecting"
    HANGING = "hanging"
    ENDLESS = "endless"
    BREAKING = "breaking off"
    HUGE = "huge"


class Server:
    """One target, which does each message once by its id, as targets should.

    Args:
        secrets: with any of which a message may be signed.
    """

    def __init__(self, *secrets: str) -> None:
        self.secrets = secrets
        self.mood = Mood.WELL
        self.calls: list[Event] = []
        """Every genuine call, whatever it was answered."""
        self.forged = 0
        self.processed: Counter[str] = Counter()
        """How often it was done, by the message's key: more than once where it came under more than one id."""
        self._done: set[str] = set()
        self._port = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._running: tuple[ThreadingHTTPServer, threading.Thread] | None = None

    @property
    def url(self) -> str:
        """Where it is, or will be again."""
        return f"http://127.0.0.1:{self._port}/hook?token=hush"

    def up(self) -> None:
        """Listens, at the same port as before."""
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                target.heard(self)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._stop.clear()
        server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        server.daemon_threads = True
        self._port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self._running = server, thread

    def down(self) -> None:
        """Nobody listens there any more."""
        self._stop.set()
        if self._running is not None:
            server, thread = self._running
            server.shutdown()
            server.server_close()
            thread.join()
            self._running = None

    def heard(self, request: BaseHTTPRequestHandler) -> None:
        """One call."""
        body = request.rfile.read(int(request.headers["content-length"]))
        try:
            event = verify(self.secrets, dict(request.headers.items()), body, time.time())
        except Unverified:
            with self._lock:
                self.forged += 1
            request.send_error(401)
            return
        with self._lock:
            self.calls.append(event)
            mood = self.mood
            if mood in {Mood.WELL, Mood.SLOW, Mood.HUGE} and event.id not in self._done:
                self._done.add(event.id)
                self.processed[event.key] += 1
        try:
            self._answer(request, mood)
        except OSError:
            return  # whoever called has gone

    def _answer(self, request: BaseHTTPRequestHandler, mood: Mood) -> None:
        if mood is Mood.BREAKING:
            request.wfile.write(b"HTTP/1.1 2")
            request.close_connection = True
            return
        if mood is Mood.HANGING:
            self._stop.wait(30)
            return
        if mood is Mood.SLOW:
            self._stop.wait(_SLOW_S)
        status = {Mood.FAILING: 500, Mood.REDIRECTING: 307}.get(mood, 204 if mood is Mood.WELL else 200)
        request.send_response(status)
        if mood is Mood.REDIRECTING:
            request.send_header("location", self.url)
        request.end_headers()
        while mood is Mood.ENDLESS and not self._stop.wait(0.05):
            request.wfile.write(b"x")
        if mood is Mood.HUGE:
            request.wfile.write(b"x" * _HUGE)


@contextmanager
def served(*secrets: str) -> Iterator[Server]:
    """One that listens for as long as the block lasts."""
    server = Server(*secrets)
    server.up()
    try:
        yield server
    finally:
        server.down()
