"""A request's head: what the parser hands over, checked against everything that it lets through.

llhttp refuses most malformed heads by itself. What is left is here: HTTP versions that are none of ours, no Host or
two, `gzip, chunked`, connection options that smuggle, a binary extension whose length makes no sense. A head says
itself what is bad about it, with the sentence for the client. Nothing of a client's framing survives: the lines that go
on are rebuilt from parsed fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from serving.access import table
from serving.access.roles import Needs
from serving.errors import Refusal
from serving.gateway.paths import UNKNOWN, Operation, Target, target_of

if TYPE_CHECKING:
    from serving.access.principal import Principal
    from serving.access.verifier import Verifier
    from serving.gateway.traceparent import Onward

_STAYS_HERE = frozenset(
    (b"authorization", b"connection", b"content-length", b"cookie", b"expect", b"host", b"http2-settings",
     b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)  # fmt: skip
"""What says how to reach us, or who asks: no model, shadow or sample gets to see it."""
_OURS = b"sluice-"
_CONNECTION_OPTIONS = frozenset((b"close", b"keep-alive", b"te", b"upgrade", b"http2-settings"))
_JSON_LENGTH = b"inference-header-content-length"
_HAS_BODY = frozenset((Operation.INFER, Operation.GENERATE, Operation.GENERATE_STREAM))
_LONGEST_NUMBER = 18
_MILLISECONDS = 1000
_AROUND = len(b": \r\n")
_LONGEST_PART = 8_191
_LONGEST_URL = 8_000
"""Triton 2.51 closes without a word on a longer line; ours to it is a little longer than the client's to us."""
_DEADLY_QUALITY = re.compile(rb"=\s*(?:[^,;]{9}|[+-]?[0-9.]+[eEpPxX])")
"""Triton 2.51 dies of a quality whose number does not fit, such as 1e999: it does not catch what `stod` throws."""
_COMPRESSIONS = frozenset((b"gzip", b"deflate"))
_TRUE = frozenset((b"1", b"true"))


class Bad(NamedTuple):
    """Why a request goes no further."""

    kind: Refusal
    sentence: str
    allow: bytes = b""
    retry_after_s: int | None = None
    """Where the table's own is not the right one."""


class Asked(Protocol):
    """What is known of a request before its body, by whichever door it came; the members are `RequestHead`'s.

    Attributes:
        grpc: whether its fields are gRPC metadata.
        sequence: what it is part of, for the replica that keeps it; over HTTP a body may say so, which nobody reads.
    """

    grpc: ClassVar[bool]
    fields: dict[bytes, bytes]
    timeout_s: float | None
    version_asked: int | None
    synthetic: bool
    sequence: bytes | None
    admitted: tuple[Principal, float, Verifier | None] | None

    @property
    def method(self) -> bytes:
        """HTTP's; for the security log."""

    @property
    def target(self) -> Target:
        """What is asked."""

    @property
    def needs(self) -> Needs:
        """The right that is asked for."""


@dataclass(slots=True)
class RequestHead:
    """A request's head.

    Attributes:
        bad: why the request goes no further; None for a sound one.
        target: what the path asks.
        http_1_1: whether the client speaks HTTP/1.1, and so understands chunks.
        lines: the end-to-end headers as the client wrote them, each line ended.
        fields: header values by lower-case name; a repeated header's values joined by commas. Never shown: it has keys.
        length: of the body in bytes, None where it comes in chunks.
        keep_alive: whether the connection may carry another request.
        expects: whether the client waits for `100 Continue` before it sends the body.
        json_length: where the JSON part of a binary-extension body ends; None where all of it is JSON.
        version_asked: the version in `sluice-version`.
        timeout_s: the deadline that the client gave, None where it gave none.
        coding: the body's `Content-Encoding`, empty for none.
        synthetic: whether it is marked as a load test's, which enters no evidence.
        needs: what whoever asks must have a right to, by the table; nothing where there was no telling what it asks.
        admitted: `admission`'s own: who was let in with this head, until when, and by whose word.
    """

    grpc: ClassVar[bool] = False
    method: bytes
    target: Target
    http_1_1: bool
    lines: list[bytes]
    fields: dict[bytes, bytes] = field(repr=False)
    length: int | None
    keep_alive: bool
    expects: bool
    json_length: int | None
    version_asked: int | None
    timeout_s: float | None
    bad: Bad | None = None
    coding: bytes = b""
    synthetic: bool = False
    sequence: bytes | None = field(default=None, init=False)
    needs: Needs = Needs.NOTHING
    admitted: tuple[Principal, float, Verifier | None] | None = field(default=None, repr=False)

    @property
    def plain(self) -> bool:
        """Whether it says all that there is to know before its body comes: no chunks, nothing to wait for, no end."""
        return self.bad is None and self.http_1_1 and self.keep_alive and not self.expects and self.length is not None

    def rebuilt(self, prefix: bytes, framing: bytes, onward: Onward | None = None) -> bytes:
        """The head as an upstream gets it.

        Args:
            prefix: of the path, with model and version.
            framing: how long the body is.
            onward: what it is told of the trace; None where nobody traces, and the client's own lines go on.
        """
        lines = self.lines if onward is None else onward.lines(self.lines)
        return b"%s %s%s HTTP/1.1\r\nHost: triton\r\n%s%s\r\n" % (
            self.method, prefix, self.target.tail, b"".join(lines), framing,
        )  # fmt: skip


def broken(bad: Bad, method: bytes = b"") -> RequestHead:
    """Stands in for a request that could not be read to the end: nothing after it on the connection can be trusted."""
    return RequestHead(method, UNKNOWN, True, [], {}, 0, False, False, None, None, None, bad)


def is_compressed(coding: bytes) -> bool:
    """Whether Triton would inflate a body of this `Content-Encoding`; of several headers it reads the first."""
    return coding.partition(b",")[0].strip().lower() in _COMPRESSIONS


class HeadBuilder:
    """Collects one head from the parser's callbacks."""

    __slots__ = ("_fields", "_hosts", "_lines", "_longest", "size", "url")

    def __init__(self) -> None:
        self.url = b""
        self.size = 0
        self._lines: list[bytes] = []
        self._fields: dict[bytes, bytes] = {}
        self._hosts = 0
        self._longest = 0

    def add(self, name: bytes, value: bytes) -> None:
        """One header."""
        self.size += len(name) + len(value) + _AROUND
        if len(value) > self._longest or len(name) > self._longest:
            self._longest = max(len(value), len(name))
        value = value.rstrip(b" \t")  # the parser strips the other end
        lower = name.lower()
        fields = self._fields
        fields[lower] = fields[lower] + b"," + value if lower in fields else value
        if lower == b"host":
            self._hosts += 1
        if lower not in _STAYS_HERE and not lower.startswith(_OURS):
            self._lines.append(b"%s: %s\r\n" % (name, value))

    def build(self, method: bytes, http: str, max_body: int, *, keep_alive: bool) -> RequestHead:
        """The head; framing is checked first, for what comes after rests on it."""
        fields = self._fields
        bad = self._bad_framing(method, http)
        if bad is not None:
            return broken(bad, method)
        target = target_of(self.url)
        length = None if b"transfer-encoding" in fields else int(fields.get(b"content-length", b"0"))
        stays = keep_alive and _stays_open(http, fields)
        head = RequestHead(method, target, http == "1.1", self._lines, fields, length, stays, False, None, None, None)
        head.needs = table.PREDICTION[target.operation]
        if length is not None and length > max_body:
            head.length, head.keep_alive = 0, False  # it is never read
            head.bad = Bad(Refusal.TOO_LARGE, f"The body has {length} bytes, the gateway takes {max_body} at most.")
            return head
        head.bad = (
            _wrong_method(method, target) or _missing_length(target, fields) or self._deadly() or _read_fields(head)
        )
        if head.synthetic:
            head.needs = max(head.needs, table.SYNTHETIC)
        return head

    def _deadly(self) -> Bad | None:
        """What the model's server would hang up on, or die of."""
        if self._longest > _LONGEST_PART or len(self.url) > _LONGEST_URL:
            long = f"A header may have {_LONGEST_PART} bytes, a URL {_LONGEST_URL}: models' servers take no more."
            return Bad(Refusal.MALFORMED, long)
        accepted = self._fields.get(b"accept-encoding", b"")
        if b"=" in accepted and _DEADLY_QUALITY.search(accepted):
            return Bad(Refusal.MALFORMED, "Accept-Encoding gives a quality that is none: it is 0 to 1, three digits.")
        return None

    def _bad_framing(self, method: bytes, http: str) -> Bad | None:
        fields = self._fields
        if method == b"CONNECT":
            return Bad(Refusal.CONNECT, "CONNECT is not offered: this is a gateway, not a proxy.")
        if http not in {"1.1", "1.0"}:
            return Bad(Refusal.BROKEN_FRAMING, f"HTTP/{http} is not spoken here: use HTTP/1.1.")
        if self._hosts > 1 or (self._hosts == 0 and http == "1.1"):
            return Bad(Refusal.BROKEN_FRAMING, "A request needs exactly one Host header.")
        encoding = fields.get(b"transfer-encoding")
        if encoding is not None and (http == "1.0" or encoding.lower() != b"chunked"):
            return Bad(Refusal.BROKEN_FRAMING, "The only Transfer-Encoding taken is chunked, and only with HTTP/1.1.")
        if not _CONNECTION_OPTIONS.issuperset(_connection_options(fields)):
            return Bad(
                Refusal.BROKEN_FRAMING, "Connection may name only close, keep-alive, TE, Upgrade, HTTP2-Settings."
            )
        return None


def _connection_options(fields: dict[bytes, bytes]) -> list[bytes]:
    said = fields.get(b"connection")
    return [] if said is None else [option.strip().lower() for option in said.split(b",") if option.strip()]


def _stays_open(http: str, fields: dict[bytes, bytes]) -> bool:
    """By RFC 9112, 9.3: the parser takes Proxy-Connection for Connection, and keep-alive before close on HTTP/1.0."""
    options = _connection_options(fields)
    return b"close" not in options and (http == "1.1" or b"keep-alive" in options)


def _wrong_method(method: bytes, target: Target) -> Bad | None:
    if not target.method or method == target.method:
        return None
    allowed = target.method.decode()
    return Bad(Refusal.WRONG_METHOD, f"{method.decode()} is not offered at this path: use {allowed}.", target.method)


def _missing_length(target: Target, fields: dict[bytes, bytes]) -> Bad | None:
    if target.operation not in _HAS_BODY or b"content-length" in fields or b"transfer-encoding" in fields:
        return None
    return Bad(Refusal.MALFORMED, "An inference request needs a body: send Content-Length or chunks.")


def _read_fields(head: RequestHead) -> Bad | None:
    fields = head.fields
    try:
        head.coding = fields.get(b"content-encoding", b"")
        head.expects = head.http_1_1 and fields.get(b"expect", b"").lower() == b"100-continue"
        head.json_length = _json_length(fields, head.length)
        head.version_asked, head.timeout_s, head.synthetic = wishes_in(fields)
    except ValueError as error:
        return Bad(Refusal.MALFORMED, str(error))
    return None


class Wishes(NamedTuple):
    """What a request asks of the gateway itself; the members are `RequestHead`'s."""

    version_asked: int | None
    timeout_s: float | None
    synthetic: bool


def wishes_in(fields: Mapping[bytes, bytes]) -> Wishes:
    """What `sluice-version`, `sluice-timeout-ms` and `sluice-synthetic` say.

    Raises:
        ValueError: one says what it cannot, with the sentence for the client.
    """
    return Wishes(_version_asked(fields), _timeout_s(fields), _synthetic(fields))


def _json_length(fields: dict[bytes, bytes], length: int | None) -> int | None:
    text = fields.get(_JSON_LENGTH)
    if text is None:
        return None
    number = _number(text)
    if number is None:
        raise ValueError(f"Inference-Header-Content-Length is {_shown(text)}: it is a whole number of bytes.")
    # Of a compressed body it counts the bytes after inflation.
    if length is not None and number > length and not is_compressed(fields.get(b"content-encoding", b"")):
        raise ValueError(f"Inference-Header-Content-Length is {number}, more than the body's {length} bytes.")
    return number


def _version_asked(fields: Mapping[bytes, bytes]) -> int | None:
    text = fields.get(b"sluice-version")
    if text is None:
        return None
    number = _number(text)
    if not number:
        raise ValueError(f"sluice-version is {_shown(text)}: it is a version's number.")
    return number


def _timeout_s(fields: Mapping[bytes, bytes]) -> float | None:
    text = fields.get(b"sluice-timeout-ms")
    if text is None:
        return None
    number = _number(text)
    if not number:
        raise ValueError(f"sluice-timeout-ms is {_shown(text)}: it is a whole number of milliseconds, at least 1.")
    return number / _MILLISECONDS


def _synthetic(fields: Mapping[bytes, bytes]) -> bool:
    text = fields.get(b"sluice-synthetic")
    if text is not None and text.lower() not in _TRUE:
        raise ValueError(f"sluice-synthetic is {_shown(text)}: it is 1, or the header is left out.")
    return text is not None


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) <= _LONGEST_NUMBER else None


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("utf-8", "replace"))
