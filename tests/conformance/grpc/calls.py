"""What a gRPC vector is, and what comes of it when it is called: generic calls, bytes in and bytes out."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
from google.protobuf import text_format
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as triton

from tests.conformance.differences import Why
from tests.conformance.grpc.messages import SERVICE
from tests.conformance.targets import Profile

PATIENCE_S = 15.0
_UNLIMITED = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),
)
_STREAMED = frozenset(("ModelStreamInfer", "Watch"))

_LONGEST = 4_000
_SHORT = 200
CUT = "… SHA-256 "
"""Stands in a text for what is too long to be read."""

Request = bytes | Callable[[], bytes]
"""A message, or what makes it where it is large."""


@dataclass(frozen=True)
class Own:
    """An answer of the gateway's own, in place of Triton's.

    Attributes:
        code: the name of its status.
        why: the case of the protocol that it rests on.
        says: a part of its sentence.
        messages: what it answers, where it is no error; bytes where that is no message of Triton's.
        version: the answers are Triton's, and each of them names this version; empty for messages of its own.
    """

    code: str
    why: Why
    says: str = ""
    messages: tuple[Message | bytes, ...] = ()
    version: str = ""


@dataclass(frozen=True)
class Vector:
    """A call, and what is expected of both servers.

    Attributes:
        name: unique.
        method: the path.
        requests: what is sent, in order; a unary call sends one.
        gateway: the gateway's own answer; None where it is Triton's, to the byte.
        metadata: what is sent with it.
        deadline_s: how long the client waits, in seconds.
        given_up_after: after how many answers the client cancels; None for never.
        is_timed: whether the client's clock ends it, so that either side may be the one that says so.
        compared: how many answers are compared; None for all.
        compressed: whether the client compresses.
        profile: the part of the protocol that it is about.
    """

    name: str
    method: str
    requests: tuple[Request, ...]
    gateway: Own | None = None
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    deadline_s: float = PATIENCE_S
    given_up_after: int | None = None
    is_timed: bool = False
    compared: int | None = None
    compressed: bool = False
    profile: Profile = Profile.CORE

    @property
    def streams(self) -> bool:
        """Whether the method answers with a stream."""
        return self.method.rpartition("/")[2] in _STREAMED


class Outcome(NamedTuple):
    """What came of a call.

    Attributes:
        code: the name of its status.
        details: the words beside it.
        messages: the answers, in order.
        metadata: what came before and after them, sorted, without the gateway's.
    """

    code: str
    details: str
    messages: tuple[bytes, ...]
    metadata: tuple[tuple[str, str], ...] = ()

    def plain(self, vector: Vector) -> dict[str, Any]:
        """As JSON holds it and people read it; messages in protobuf's text form."""
        words = {"metadata": [f"{name}: {value}" for name, value in self.metadata]} if self.metadata else {}
        messages = [_text(vector.method, message) for message in self.messages]
        return {"status": self.code, "details": self.details, "messages": messages, **words}


def dial(address: str) -> grpc.Channel:
    """A connection to the server."""
    return grpc.insecure_channel(address, options=_UNLIMITED)


def ask(channel: grpc.Channel, vector: Vector) -> Outcome:
    """What the server answers."""
    requests = [request() if callable(request) else request for request in vector.requests]
    how = {
        "timeout": vector.deadline_s,
        "metadata": vector.metadata,
        "compression": grpc.Compression.Gzip if vector.compressed else None,
        "wait_for_ready": True,
    }
    if vector.streams:
        call = channel.stream_stream(vector.method)(iter(requests), **how)
    else:
        call = channel.unary_stream(vector.method)(requests[0], **how)
    messages = tuple(itertools.islice(_until_it_fails(call), vector.given_up_after))[: vector.compared]
    if vector.given_up_after is not None:
        call.cancel()
    came = (*call.initial_metadata(), *call.trailing_metadata()) if vector.given_up_after is None else ()
    details = "" if vector.is_timed or vector.given_up_after is not None else call.details() or ""
    return Outcome(call.code().name, details, messages, () if vector.is_timed else _kept(came))


def parsed(method: str, message: bytes) -> Message | None:
    """The answer, where its kind is known."""
    kinds: Mapping[str, type[Message]] = {"ModelStreamInfer": triton.ModelStreamInferResponse}
    name = method.removeprefix(SERVICE)
    kind = kinds.get(name) or getattr(triton, f"{name}Response", None)
    return kind.FromString(message) if kind is not None else None


def _until_it_fails(call: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from call
    except grpc.RpcError:
        return


def _kept(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[tuple[str, str], ...]:
    words = ((name, value if isinstance(value, str) else value.hex()) for name, value in metadata)
    return tuple(sorted(pair for pair in words if not pair[0].startswith("sluice-")))


def _text(method: str, message: bytes) -> str:
    known = parsed(method, message)
    if known is None:
        return base64.b64encode(message).decode()
    text = text_format.MessageToString(known, as_one_line=True, print_unknown_fields=True)
    return text if len(text) <= _LONGEST else f"{text[:_SHORT]}{CUT}{hashlib.sha256(message).hexdigest()}"
