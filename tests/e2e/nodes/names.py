"""A name server for the pods' network: it knows the Services, and whoever has another's name later is found by it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

_PORT = 53
_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!2H")
_ANSWER = struct.Struct("!3HIH4s")
_ANSWERS = 0x8580
"""Flags: an answer, by who knows it."""
_UNKNOWN = 0x8583
_AN_ADDRESS, _INTERNET = 1, 1
_THE_NAME_ABOVE = 0xC000 | _HEADER.size
_LIVES_S = 1
_LARGEST = 512
_OVER = b""


class NameServer:
    """Answers for as long as the block lasts.

    Args:
        host: where it listens.
        names: addresses, by name; what changes in there changes what is said.
    """

    def __init__(self, host: str, names: Mapping[str, str]) -> None:
        self._names = names
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, _PORT))
        self._thread = threading.Thread(target=self._serve, name="name server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.sendto(_OVER, self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            asked, asker = self._socket.recvfrom(_LARGEST)
            if asked == _OVER:
                return
            with contextlib.suppress(struct.error, IndexError, UnicodeDecodeError, OSError):
                self._socket.sendto(answered(asked, self._names), asker)


def answered(asked: bytes, names: Mapping[str, str]) -> bytes:
    """The answer to one question, by RFC 1035: an address, no address of that kind, or no such name.

    Raises:
        struct.error, IndexError, UnicodeDecodeError: it is no question.
    """
    number = _HEADER.unpack_from(asked)[0]
    labels, at = [], _HEADER.size
    while length := asked[at]:
        labels.append(asked[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    kind, _ = _QUESTION.unpack_from(asked, at + 1)
    question = asked[_HEADER.size : at + 1 + _QUESTION.size]
    address = names.get(".".join(labels).lower())
    if address is None or kind != _AN_ADDRESS:
        return _HEADER.pack(number, _UNKNOWN if address is None else _ANSWERS, 1, 0, 0, 0) + question
    there = _ANSWER.pack(_THE_NAME_ABOVE, _AN_ADDRESS, _INTERNET, _LIVES_S, 4, socket.inet_aton(address))
    return _HEADER.pack(number, _ANSWERS, 1, 1, 0, 0) + question + there
