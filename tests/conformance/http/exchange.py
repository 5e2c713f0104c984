"""What a vector is, and what comes of it when it is sent to a server.

After the answers, one more request goes out on the same connection: a client that keeps its connections alive must
find it as usable, or as closed, behind the gateway as with Triton alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, unique
from typing import Any, NamedTuple

from tests.conformance.differences import Why
from tests.conformance.http.requests import request
from tests.conformance.http.wire import PATIENCE_S, Answer, Connection, Hung
from tests.conformance.targets import Column, Place, Profile

Piece = bytes | Callable[[], bytes] | None
"""Bytes that are sent at once, or what makes them where they are many; None waits for an interim answer first."""

_NEXT = request("GET", "/v2/health/live")
_SHORT_PATIENCE_S = 0.5


@unique
class After(Enum):
    """What is left of the connection."""

    OPEN = "open"
    CLOSED = "closed"
    WAITS = "waits"


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
        profile: the part of the protocol that it is about.
    """

    name: str
    pieces: tuple[Piece, ...]
    gateway: Own | None = None
    method: str = "POST"
    count: int = 1
    triton_waits: bool = False
    seen: Callable[[bytes], bytes] = bytes
    profile: Profile = Profile.CORE

    @property
    def is_simple(self) -> bool:
        """Whether it goes out in one piece and gets one answer, which is Triton's."""
        return self.gateway is None and self.count == 1 and None not in self.pieces and not self.triton_waits

    @property
    def sent(self) -> bytes:
        """Everything that goes out, waits left out."""
        return b"".join(piece() if callable(piece) else piece or b"" for piece in self.pieces)


class Outcome(NamedTuple):
    """What came of a vector."""

    answers: tuple[Answer, ...]
    after: After

    def plain(self) -> dict[str, Any]:
        """As JSON holds it and people read it."""
        return {"answers": [_plain(answer) for answer in self.answers], "after": self.after.value}


def outcome(plain: Mapping[str, Any]) -> Outcome:
    """What `Outcome.plain` wrote."""
    return Outcome(tuple(map(_answer, plain["answers"])), After(plain["after"]))


def ask(place: Place, vector: Vector, column: Column) -> Outcome:
    """The vector's outcome with a server, without the headers that the gateway adds.

    Triton sends a body after the head of its answer to HEAD, and leaves some of its clients waiting.
    """
    method = "GET" if column is Column.TRITON else vector.method
    patience_s = _SHORT_PATIENCE_S if vector.triton_waits and column is not Column.GATEWAY else PATIENCE_S
    answers: list[Answer] = []
    with Connection(place, patience_s) as connection:
        try:
            send(connection, vector)
            for _ in range(vector.count):
                answer = connection.answer(method)
                if answer is None:
                    return Outcome(tuple(answers), After.CLOSED)
                answers.append(as_seen(answer, vector))
            if method == "HEAD" and column is Column.PROTOCOL:
                return Outcome(tuple(answers), After.CLOSED)  # a body after it is a mistake that even Triton makes
            return Outcome(tuple(answers), _after(connection))
        except Hung:
            if not vector.triton_waits or column is Column.GATEWAY:
                raise
            return Outcome(tuple(answers), After.WAITS)


def as_seen(answer: Answer, vector: Vector) -> Answer:
    """What is compared of an answer."""
    return answer.without("sluice-")._replace(body=vector.seen(answer.body))


def send(connection: Connection, vector: Vector) -> None:
    """The vector's pieces; those after a wait only if the server asked for them."""
    for piece in vector.pieces:
        if piece is not None:
            connection.send(piece() if callable(piece) else piece)
        elif not connection.interim():
            return


def _after(connection: Connection) -> After:
    connection.send(_NEXT)
    answer = connection.answer("GET")
    if answer is None:
        return After.CLOSED
    assert answer.code == 200, f"the next request on the connection gets {answer}"
    return After.OPEN


def _plain(answer: Answer) -> dict[str, Any]:
    try:
        body = {"body": answer.body.decode()}
    except UnicodeDecodeError:
        body = {"base64": base64.b64encode(answer.body).decode()}
    interim = {"interim": list(answer.interim)} if answer.interim else {}
    headers = [f"{name}: {value}" for name, value in answer.headers]
    return {"status": f"{answer.code} {answer.phrase}", "headers": headers, **interim, **body}


def _answer(plain: Mapping[str, Any]) -> Answer:
    code, _, phrase = plain["status"].partition(" ")
    lines = (line.partition(": ") for line in plain["headers"])
    body = binascii.a2b_base64(plain["base64"]) if "base64" in plain else plain["body"].encode()
    headers = tuple((name, value) for name, _, value in lines)
    return Answer(int(code), phrase, headers, body, tuple(plain.get("interim", ())))
