"""The answer half of an exchange: a model's answer, framed for this client.

A whole answer is one write with a length. One that comes in pieces keeps its length where it has one, else it goes in
chunks, or to an HTTP/1.0 client until the connection's end.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from serving.gateway import answers
from serving.gateway.body import chunk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from serving.gateway.http import ClientConnection
    from serving.gateway.request import RequestHead
    from serving.gateway.upstream import AnswerHead

_END_OF_CHUNKS = b"0\r\n\r\n"
_NO_BODY = frozenset((HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED))


class Reply:
    """One answer to one client."""

    __slots__ = ("_client", "_head", "_in_chunks", "begun", "sent")

    def __init__(self, client: ClientConnection, head: RequestHead) -> None:
        self._client = client
        self._head = head
        self._in_chunks = False
        self.begun = False
        """Whether the client has a part of it."""
        self.sent = 0
        """Bytes of the body that it was sent, without framing."""

    def whole(self, answer: AnswerHead, ours: bytes, pieces: list[bytes]) -> None:
        """All of it at once; `ours` are the headers that the gateway adds."""
        self.begun = True
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.sent = len(body)
        framing = b"" if answer.code in _NO_BODY else b"Content-Length: %d\r\n" % len(body)
        self._client.write(self._head_of(answer, ours, framing) + body)

    def begin(self, answer: AnswerHead, ours: bytes, pieces: list[bytes]) -> bool:
        """The first of it; False when the client should be given a rest."""
        self.begun = True
        framing = b""
        if answer.length is not None:
            framing = b"Content-Length: %d\r\n" % answer.length
        elif self._head.http_1_1:
            framing, self._in_chunks = b"Transfer-Encoding: chunked\r\n", True
        else:  # HTTP/1.0 has no chunks: the body ends with the connection
            self._client.ends_with_this()
        return self._client.write(b"".join((self._head_of(answer, ours, framing), *self._framed(pieces))))

    def more(self, pieces: list[bytes]) -> bool:
        """What came next; False when the client should be given a rest."""
        return self._client.write(b"".join(self._framed(pieces)))

    def end(self, pieces: list[bytes]) -> None:
        """The last of it."""
        self._client.write(b"".join((*self._framed(pieces), _END_OF_CHUNKS if self._in_chunks else b"")))

    def framed(self, words: bytes) -> bytes:
        """This as a part of an answer that has begun; empty where its length does not allow for it."""
        return chunk(words) if self._in_chunks else b""

    def break_off(self, words: bytes) -> None:
        """No more will come: the client must see that this is not all, and is told why where it can be.

        Args:
            words: the last of it; empty where nothing more may be said.
        """
        if self._in_chunks and words:
            self._client.write(chunk(words))
            self._client.hang_up()  # without the chunk that ends an answer
        else:
            self._client.cut()

    def _head_of(self, answer: AnswerHead, ours: bytes, framing: bytes) -> bytes:
        return b"%s%s%s%s%s\r\n" % (
            answers.status_line(answer.code, answer.phrase), answer.headers, ours, framing,
            self._client.connection_header(self._head),
        )  # fmt: skip

    def _framed(self, pieces: list[bytes]) -> list[bytes]:
        self.sent += sum(map(len, pieces))
        return [chunk(piece) for piece in pieces] if self._in_chunks else pieces


def with_versions(body: bytes, versions: Iterable[int]) -> bytes:
    """A model's metadata with every version that the gateway routes to, not only the one that this server has."""
    try:
        metadata = json.loads(body)
        metadata["versions"] = [str(version) for version in sorted(versions)]
    except (ValueError, TypeError, RecursionError):
        return body
    return json.dumps(metadata, separators=(",", ":")).encode()
