"""A call's head: its method and metadata, checked; and what goes on of it to a model.

Most clients send the same head with every call, so what was read of one is kept, and found again by the block's own
object, of which a connection hands out the same one each time. What a call's message adds, its model and version, is
kept with the head: the two together are what policy and admission ask about.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import ClassVar, Final

from serving.access import table
from serving.access.principal import Principal
from serving.access.verifier import Verifier
from serving.errors import Refusal
from serving.gateway.grpc.messages import Named
from serving.gateway.grpc.methods import METHODS, UNKNOWN, Method
from serving.gateway.h2.fields import encode_field
from serving.gateway.h2.stream import Fields
from serving.gateway.paths import Operation, Target
from serving.gateway.request import Bad, wishes_in
from serving.gateway.traceparent import NAME, Onward

_STAYS_HERE = frozenset(
    (b"authorization", b"connection", b"content-length", b"content-type", b"cookie", b"expect", b"grpc-timeout",
     b"host", b"http2-settings", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
     b"transfer-encoding", b"triton_grpc_error", b"upgrade")
)  # fmt: skip
"""What says how to reach us, how long it may take, or who asks: the first two are said anew, nobody gets the third.

And `triton_grpc_error`, with which a model's error on a stream kills Triton 2.51: such errors come as answers instead.
"""
_OURS = b"sluice-"
_CONTENT_TYPES = frozenset((b"application/grpc", b"application/grpc+proto"))
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_LONGEST_TIMEOUT_MS = 99_999_999
_MOST_KEPT: Final = 1024
_LONGEST_KEPT: Final = 4096
"""Bytes of a head: room for a token in it."""
_MOST_MODELS: Final = 64
_LONGEST_NAME: Final = 128
_Admitted = tuple[Principal, float, Verifier | None] | None


class CallHead:
    """A call's head.

    Attributes:
        fields: metadata by name, the values of a repeated one joined by commas. Never shown: it has keys.
        kind: the method.
        coding: how its messages are compressed where they say they are; empty for none.
        bad: why the call goes no further; None for a sound one.
        is_grpc: whether whoever sent it speaks gRPC at all.
        target: what is asked, as soon as the message was read about which model.
        block: what an upstream gets, but for how long there is.
        named: what the message names.
        sequence: of that, what it is part of.
    """

    __slots__ = (
        "_about", "admitted", "bad", "block", "coding", "fields", "is_grpc", "kind", "named", "needs", "raw",
        "sequence", "synthetic", "target", "timeout_s", "version_asked",
    )  # fmt: skip
    grpc: ClassVar[bool] = True
    method: ClassVar[bytes] = b"gRPC"

    def __init__(self, raw: Fields, fields: dict[bytes, bytes], kind: Method) -> None:
        self.raw = raw
        self.fields = fields
        self.kind = kind
        self.target = Target(kind.operation, b"")
        self.needs = table.PREDICTION[kind.operation]
        self.coding = fields.get(b"grpc-encoding", b"identity")
        self.bad: Bad | None = None
        self.is_grpc = True
        self.version_asked: int | None = None
        self.timeout_s: float | None = None
        self.synthetic = False
        self.admitted: _Admitted = None
        self.block = b""
        self.named = Named(b"", b"")
        self.sequence: bytes | None = None
        self._about: dict[Named, CallHead] = {}

    @property
    def watches(self) -> bool:
        """Whether the method is `Watch`, which answers at each change."""
        return self.fields.get(b":path", b"").endswith(b"/Watch")

    def onward(self, told: Onward | None) -> bytes:
        """What an upstream gets that is told this of the trace; None where nobody traces."""
        if told is None:
            return self.block
        return _onward(self.raw, self, told.replaced) + encode_field(NAME, told.value)

    def about(self, named: Named) -> CallHead:
        """The head of a call whose message names this."""
        known = self._about.get(named)
        if known is not None:
            return known
        head = self._with(named)
        if named.sequence is None and len(named.model) <= _LONGEST_NAME:
            if len(self._about) >= _MOST_MODELS:
                self._about.clear()
            self._about[named] = head
        return head

    def _with(self, named: Named) -> CallHead:
        head = CallHead(self.raw, self.fields, self.kind)
        for name in ("bad", "version_asked", "timeout_s", "synthetic", "block", "needs"):
            setattr(head, name, getattr(self, name))
        version = named.version.decode("utf-8", "replace") if named.version else None
        operation = self.kind.operation
        if operation is Operation.STATS and not named.model:
            operation = Operation.ALL_STATS
        head.target = Target(operation, b"", named.model.decode("utf-8", "replace"), version)
        head.named, head.sequence = named, named.sequence
        return head


NO_HEAD: Final = CallHead((), {}, UNKNOWN)
"""Of a call that has only just begun."""


class Heads:
    """Heads that were read before."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, CallHead] = {}

    def of(self, raw: Fields) -> CallHead:
        """The head that this block is."""
        known = self._known.get(id(raw))
        if known is not None and known.raw is raw:
            return known
        head = _read(raw)
        if sum(len(name) + len(value) for name, value in raw) <= _LONGEST_KEPT:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            self._known[id(raw)] = head
        return head


def timeout_field(seconds: float) -> bytes:
    """The block that says how long there is, at least a millisecond."""
    return encode_field(b"grpc-timeout", b"%dm" % min(max(1, int(seconds * 1000)), _LONGEST_TIMEOUT_MS))


def _read(raw: Fields) -> CallHead:
    fields: dict[bytes, bytes] = {}
    for name, value in raw:
        fields[name] = fields[name] + b"," + value if name in fields else value
    head = CallHead(raw, fields, METHODS.get(fields.get(b":path", b""), UNKNOWN))
    head.bad = _not_grpc(fields)
    head.is_grpc = head.bad is None
    try:
        head.version_asked, timeout_s, head.synthetic = wishes_in(fields)
        head.timeout_s = _sooner(timeout_s, _timeout_s(fields))
    except ValueError as error:
        head.bad = head.bad or Bad(Refusal.MALFORMED, str(error))
    if head.synthetic:
        head.needs = max(head.needs, table.SYNTHETIC)
    head.block = _onward(raw, head)
    return head


def _not_grpc(fields: dict[bytes, bytes]) -> Bad | None:
    if fields.get(b":method") != b"POST":
        return Bad(Refusal.WRONG_METHOD, "This port speaks gRPC, which is POST alone: HTTP is on the other port.")
    kind = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind not in _CONTENT_TYPES:
        return Bad(Refusal.MALFORMED, "This port speaks gRPC: its content-type is application/grpc.")
    return None


def _onward(raw: Fields, head: CallHead, replaced: AbstractSet[bytes] = frozenset()) -> bytes:
    """The head as an upstream gets it: ours, and whatever of the client's metadata is for a model and not replaced."""
    own = (
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", head.fields.get(b":path", b"")),
        (b":authority", b"triton"), (b"te", b"trailers"), (b"content-type", b"application/grpc"),
    )  # fmt: skip
    # What is rewritten must come in the clear.
    not_this = b"grpc-accept-encoding" if head.kind.operation is Operation.METADATA else b""
    onward = (field for field in raw if _goes_on(field[0]) and field[0] != not_this and field[0] not in replaced)
    return b"".join([encode_field(*field) for field in (*own, *onward)])


def _goes_on(name: bytes) -> bool:
    return not name.startswith((b":", _OURS)) and name not in _STAYS_HERE


def _timeout_s(fields: dict[bytes, bytes]) -> float | None:
    text = fields.get(b"grpc-timeout")
    if text is None:
        return None
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        shown = text[:40].decode("utf-8", "replace")
        raise ValueError(f"grpc-timeout is {shown!r}: it is up to eight digits and one of H, M, S, m, u, n.")
    return int(found[1]) * _UNITS_S[found[2]]


def _sooner(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
