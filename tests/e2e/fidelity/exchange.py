"""What a vector is, and what comes of it when it is sent to a server.

After the answers, one more request goes out on the same connection: a client that keeps its connections alive must
find it as usable, or as closed, behind the gateway as with Triton alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique
from typing import Any, NamedTuple

from tests.e2e.fidelity.wire import PATIENCE_S, Answer, Connection, Hung

Piece = bytes | None
"""Bytes that are sent at once; None waits for an interim answer first."""

_NEXT = b"GET /v2/health/live HTTP/1.1\r\nHost: test\r\n\r\n"
_SHORT_PATIENCE_S = 0.5


@unique
class After(Enum):
    """What is left of the connection."""

    OPEN = "open"
    CLOSED = "closed"
    WAITS = "waits"


@unique
class Why(Enum):
    """Where the gateway's answer may differ from Triton's: the cases of the protocol."""

    UNKNOWN_MODEL = "an unknown model or version is 404, whatever is asked about it"
    UNKNOWN_PATH = "a path that is none of ours is 404 with a sentence"
    WRONG_METHOD = "405 comes with Allow"
    TOO_LARGE = "a body over the limit is 413"
    LOADS = "load and unload are refused on the prediction port"
    NOT_OFFERED = "shared memory, trace and logging belong to one Triton"
    NESTING = "JSON nested deeper than 512 levels is 400"
    VERSIONS = "the versions in metadata are those that the gateway routes to"
    OWN_VIEW = "server metadata and the repository's index are the gateway's"
    JSON_LENGTH = "a senseless Inference-Header-Content-Length is 400"
    FRAMING = "malformed HTTP, a bad or missing length and a large head are 400; well-formed HTTP is taken"
    CODING = "a body that cannot be inflated is 400: nobody could say how deep it is nested"
    CONNECT = "CONNECT is 400, and the connection ends"


@dataclass(frozen=True)
class Own:
    """An answer of the gateway's own, in place of Triton's.

    Attributes:
        code: its status.
        why: the case of the protocol that it rests on.
        says: a part of its sentence.
        allow: the method that `Allow` names; empty for no such header.
        after: what is left of the connection.
        document: the whole body as JSON, where it is no error.
    """

    code: int
    why: Why
    says: str = ""
    allow: str = ""
    after: After = After.OPEN
    document: Any = None


@dataclass(frozen=True)
class Vector:
    """A request, and what is expected of both servers.

    Attributes:
        name: unique.
        pieces: what is sent, in order.
        gateway: the gateway's own answer; None where it is Triton's, to the byte.
        method: of the request, for an answer to HEAD has no body.
        count: how many answers are due.
        triton_waits: whether Triton alone leaves its client waiting; then the wait is a short one.
        seen: what is compared of a body.
    """

    name: str
    pieces: tuple[Piece, ...]
    gateway: Own | None = None
    method: str = "POST"
    count: int = 1
    triton_waits: bool = False
    seen: Callable[[bytes], bytes] = bytes

    @property
    def is_simple(self) -> bool:
        """Whether it goes out in one piece and gets one answer, which is Triton's."""
        return self.gateway is None and self.count == 1 and None not in self.pieces and not self.triton_waits


class Outcome(NamedTuple):
    """What came of a vector."""

    answers: tuple[Answer, ...]
    after: After


def ask_triton(port: int, vector: Vector) -> Outcome:
    """The vector's outcome with Triton alone, which sends a body after the head of its answer to HEAD."""
    return _ask(port, vector, "GET", _SHORT_PATIENCE_S if vector.triton_waits else PATIENCE_S)


def ask_gateway(port: int, vector: Vector) -> Outcome:
    """The vector's outcome behind the gateway, without the headers that the gateway adds."""
    answers, after = _ask(port, vector, vector.method, PATIENCE_S)
    return Outcome(tuple(answer.without("sluice-") for answer in answers), after)


def _ask(port: int, vector: Vector, method: str, patience_s: float) -> Outcome:
    answers: list[Answer] = []
    with Connection(port, patience_s) as connection:
        try:
            send(connection, vector)
            for _ in range(vector.count):
                answer = connection.answer(method)
                if answer is None:
                    return Outcome(tuple(answers), After.CLOSED)
                answers.append(answer._replace(body=vector.seen(answer.body)))
            return Outcome(tuple(answers), _after(connection))
        except Hung:
            if not vector.triton_waits:
                raise
            return Outcome(tuple(answers), After.WAITS)


def send(connection: Connection, vector: Vector) -> None:
    """The vector's pieces; those after a wait only if the server asked for them."""
    for piece in vector.pieces:
        if piece is not None:
            connection.send(piece)
        elif not connection.interim():
            return


def _after(connection: Connection) -> After:
    connection.send(_NEXT)
    answer = connection.answer("GET")
    if answer is None:
        return After.CLOSED
    assert answer.code == 200, f"the next request on the connection gets {answer}"
    return After.OPEN
