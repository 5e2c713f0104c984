"""Copies that say of themselves that they may wait: the lowest priority, and a short wait in the queue.

Only where a model's configuration has priority levels, of which Triton's 1 is the highest (its schedule policy
extension), and only of copies: what a client sent is never changed. A wait is kept to where the model's queue policy
lets requests set one. A request that speaks of parameters itself is left as it is, and so is one that is compressed, or
whose JSON would have to be read and is too long for that.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from serving.gateway.grpc.framing import PREFIX, framed
from serving.gateway.grpc.messages import Malformed, fields_of, text, whole

if TYPE_CHECKING:
    from serving.gateway.body import Body
    from serving.gateway.request import RequestHead

WAIT_US: Final = 1_000_000
"""How long a copy waits in the queue, microseconds, before its model's server gives it up."""
_LONGEST_JSON: Final = 64 * 1024
_PARAMETERS: Final = 4
_KEY, _VALUE, _INT64 = 1, 2, 2
_JSON_LENGTH: Final = b"inference-header-content-length"


def over_http(head: RequestHead, body: Body, levels: int) -> tuple[RequestHead, bytes] | None:
    """Head and body of the copy; None where the request is to be copied as it is.

    Args:
        head: of the request.
        body: of the request, whole.
        levels: that the model has.
    """
    if head.coding:
        return None
    data = b"".join(body.pieces)
    size = len(data) if head.json_length is None else head.json_length
    said = with_parameters(data[:size], levels) if size else None
    if said is None:
        return None
    if head.json_length is not None:
        lines = [line for line in head.lines if line.partition(b":")[0].strip().lower() != _JSON_LENGTH]
        head = replace(head, lines=[*lines, b"Inference-Header-Content-Length: %d\r\n" % len(said)])
    return head, said + data[size:]


def with_parameters(said: bytes, levels: int) -> bytes | None:
    """The same JSON with our parameters; None where it has its own, or is not what it should be."""
    begin = said.find(b"{")
    if begin < 0 or said[:begin].strip() or not said[begin + 1 :].lstrip().startswith(b'"'):
        return None
    if b"parameters" in said and _speaks_of_them(said):
        return None
    ours = b'"parameters":{"priority":%d,"timeout":%d},' % (levels, WAIT_US)
    return said[: begin + 1] + ours + said[begin + 1 :]


def over_grpc(sent: bytes, levels: int) -> bytes:
    """The copy's message with its five bytes; the same where it names a priority or a wait itself.

    Args:
        sent: the message in the clear, with its five bytes.
        levels: that the model has.
    """
    message = sent[PREFIX:]
    try:
        entries = [value for number, value in fields_of(message) if number == _PARAMETERS and isinstance(value, bytes)]
    except Malformed:
        return sent
    if any(b"priority" in entry or b"timeout" in entry for entry in entries):
        return sent
    return framed(message + _entry(b"priority", levels) + _entry(b"timeout", WAIT_US))


def _entry(name: bytes, value: int) -> bytes:
    return text(_PARAMETERS, text(_KEY, name) + text(_VALUE, whole(_INT64, value)))


def _speaks_of_them(said: bytes) -> bool:
    """Whether the request as a whole has parameters, or may have: those of single inputs are another matter."""
    if len(said) > _LONGEST_JSON:
        return True
    try:
        read = json.loads(said)
    except (ValueError, RecursionError):
        return True
    return not isinstance(read, dict) or "parameters" in read
