"""What a gateway's worker hands to the keeper beside it: requests with their answers, and what it could not hand over.

A worker writes frames into one stream: a length of four bytes (big-endian), a byte that says what kind of frame it is,
and the payload. A `Captured` is one request, the answer that its client got and the answers of the copies that were
made of it; bodies travel as the bytes they are, behind a head of JSON that says how long each is. `Terms` say by which
rules the answers of a model are compared, and `Shed` how many copies were not made, and why.

Plain values, bytes and JSON: how the frames get from one process to the other, and what becomes of them there, is not
known here. What decodes badly is refused with ValueError, whatever it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from serving.handed import ENCODER, MOST, number, object_of, seconds, text, told
from serving.totals import OUTCOMES

LONGEST: Final = 32 * 1024 * 1024
"""Bytes of the longest payload that a reader takes unless it is told otherwise."""
LONGEST_VALUE: Final = 64
"""Characters of a header's value that a segment is told by."""
Protocol = Literal["http", "grpc"]
_PROTOCOLS: Final = ("http", "grpc")
_LENGTH: Final = 4
_PREFIX: Final = _LENGTH + 1
PlainAnswer = tuple[int, str, int, float, bytes, bytes | None, int]
"""The attributes of an `Answered`, in their order."""


class Kind(IntEnum):
    """What a frame holds."""

    CAPTURED = 1
    TERMS = 2
    SHED = 3
    NOTED = 4
    """`serving.noted.Noted`."""
    COPIED = 5
    """`serving.noted.CopyNoted`."""
    LOST = 6
    """`serving.noted.Lost`, the one that goes the other way."""


class Frame(NamedTuple):
    """One frame.

    Attributes:
        kind: of what it holds: a `Kind`, or a number that a later release gave a meaning.
        payload: without the length and the kind.
    """

    kind: int
    payload: bytes


def framed(kind: Kind, payload: bytes) -> bytes:
    """This as it stands in the stream."""
    return begun(kind, len(payload)) + payload


def begun(kind: Kind, size: int) -> bytes:
    """What stands in the stream before a payload of so many bytes."""
    return b"%s%c" % ((size + 1).to_bytes(_LENGTH, "big"), kind)


class Frames:
    """Reads frames off a stream that comes in pieces of any length.

    Args:
        longest: payload that is taken, in bytes.
    """

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._held = bytearray()

    @property
    def held(self) -> int:
        """Bytes of a frame that is not whole yet: 0 where the stream may end."""
        return len(self._held)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete; what is left over is kept, whether or not all of them are taken.

        Raises:
            ValueError: a frame is empty or longer than may be; the stream cannot be read any further.
        """
        self._held += data
        return self._whole()

    def _whole(self) -> Iterator[Frame]:
        while len(self._held) >= _PREFIX:
            length = int.from_bytes(self._held[:_LENGTH], "big")
            if not 1 <= length <= self._longest + 1:
                raise ValueError(f"a frame of {length} bytes is none: 1 to {self._longest + 1} are")
            end = _LENGTH + length
            if len(self._held) < end:
                return
            found = Frame(self._held[_LENGTH], bytes(self._held[_PREFIX:end]))
            del self._held[:end]
            yield found


@dataclass(frozen=True, slots=True)
class Answered:
    """One version's answer to a request.

    Attributes:
        version: that answered.
        outcome: how the attempt ended, one of `serving.totals.OUTCOMES`.
        code: HTTP's status, over gRPC the one that counts as it; 0 where no answer came.
        took_s: seconds until its last byte, or until it was given up.
        headers: the header lines that it takes to read the body (content-type, content-encoding,
            inference-header-content-length), each ended by CRLF; empty over gRPC.
        body: of the answer, over gRPC the message without its five bytes; None where none came whole, or where it is
            longer than may be captured.
        size: of the body in bytes, as far as it came.

    Raises:
        ValueError: one of them is something else.
    """

    version: int
    outcome: str
    code: int
    took_s: float
    headers: bytes
    body: bytes | None
    size: int

    def __post_init__(self) -> None:
        number(self.version, "a version", least=1)
        number(self.code, "a status code", most=999)
        number(self.size, "a size")
        seconds(self.took_s)
        _bytes(self.headers, self.body)
        if self.outcome not in OUTCOMES:
            raise ValueError(f"{self.outcome!r} is no way for an attempt to end: {', '.join(OUTCOMES)} are")
        if self.body is not None and len(self.body) != self.size:
            raise ValueError(f"a body of {len(self.body)} bytes is told as one of {self.size}")


@dataclass(frozen=True, slots=True)
class Captured:
    """One request, the answer that its client got, and the answers of its copies.

    Attributes:
        model: its name.
        request_id: that the client was told.
        nonce: of the request, 64 bits.
        epoch: of the policy that it went by.
        at_s: when it was answered, seconds since 1970.
        protocol: "http" or "grpc".
        assigned: the version that the policy chose for it.
        stable: stable's version, by that policy.
        salt: of the shadow that the copies were made for: names a rollout's shadow. Empty where there is no copy.
        segment: what the request says in those headers that the comparison's segments name; at most `LONGEST_VALUE`
            characters each.
        headers: the header lines that it takes to read the request, as in `Answered`.
        request: its body, over gRPC the message without its five bytes; None where it is longer than may be captured.
        first: the answer that the client got.
        copies: the answers of shadows. One whose version is that of `first` says how far one version's answers differ.

    Raises:
        ValueError: one of them is something else.
    """

    model: str
    request_id: str
    nonce: int
    epoch: int
    at_s: float
    protocol: str
    assigned: int
    stable: int
    salt: str
    segment: Mapping[str, str]
    headers: bytes
    request: bytes | None
    first: Answered
    copies: tuple[Answered, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.model, self.request_id):
            _text(name)
        _text(self.salt, least=0)
        number(self.nonce, "a nonce", most=2**64 - 1)
        number(self.epoch, "an epoch")
        number(self.assigned, "a version", least=1)
        number(self.stable, "a version", least=1)
        seconds(self.at_s)
        _bytes(self.headers, self.request)
        if self.protocol not in _PROTOCOLS:
            raise ValueError(f"{self.protocol!r} is no protocol: {' and '.join(_PROTOCOLS)} are")
        for name, value in self.segment.items():
            _text(name)
            _text(value, least=0, most=LONGEST_VALUE)
        object.__setattr__(self, "segment", MappingProxyType(dict(self.segment)))

    def encode(self) -> bytes:
        """The payload of its frame; `decode` reads it."""
        answers = (self.first, *self.copies)
        return b"".join(written(
            self.model, self.request_id, self.nonce, self.epoch, self.at_s, self.protocol, self.assigned, self.stable,
            self.salt, self.segment, self.headers, self.request,
            *[(one.version, one.outcome, one.code, one.took_s, one.headers, one.body, one.size) for one in answers],
        ))  # fmt: skip

    @classmethod
    def decode(cls, payload: bytes) -> Captured:
        """What `encode` wrote; members of a newer release are passed over.

        Raises:
            ValueError: it is something else.
        """
        return told(_captured, payload)


@dataclass(frozen=True, slots=True)
class ModelTerms:
    """By which rules the answers of one model are compared.

    Attributes:
        epoch: of the policy that they are a part of.
        comparison: the rules as the policy's snapshot has them; None where it has none of its own.
    """

    epoch: int
    comparison: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        number(self.epoch, "an epoch")
        if not isinstance(self.comparison, Mapping | None):
            raise ValueError("rules of comparison are a JSON object")  # noqa: TRY004 (bad input, not a bad call)


@dataclass(frozen=True, slots=True)
class Terms:
    """The rules of every model that a worker has, from here on in its stream.

    Attributes:
        models: by name.
    """

    models: Mapping[str, ModelTerms] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The payload of its frame; `decode` reads it."""
        models = {name: {"epoch": one.epoch, "comparison": one.comparison} for name, one in self.models.items()}
        return ENCODER.encode({"models": models}).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Terms:
        """What `encode` wrote; members of a newer release are passed over.

        Raises:
            ValueError: it is something else.
        """
        return told(_terms, payload)


@dataclass(frozen=True, slots=True)
class ShadowShed:
    """How many copies one shadow was to get since the worker began, and what became of them.

    Attributes:
        model: its name.
        version: that the copies were for.
        salt: of the shadow.
        offered: requests in its sample.
        sent: copies that were made.
        shed: how many were not made, by the reason; with `sent` they come to `offered`.

    Raises:
        ValueError: one of them is something else.
    """

    model: str
    version: int
    salt: str
    offered: int
    sent: int
    shed: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _text(self.model)
        _text(self.salt, least=0)
        number(self.version, "a version", least=1)
        number(self.offered, "a total")
        number(self.sent, "a total")
        object.__setattr__(self, "shed", _counts(self.shed))


@dataclass(frozen=True, slots=True)
class Shed:
    """What a worker did not hand over: running totals since it began.

    Attributes:
        worker: its id.
        boot: tells its lives apart.
        shadows: one for each shadow that it had.
        dropped: frames that the keeper did not take in time, by the reason.

    Raises:
        ValueError: one of them is something else.
    """

    worker: str
    boot: str
    shadows: tuple[ShadowShed, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _text(self.worker)
        _text(self.boot)
        object.__setattr__(self, "dropped", _counts(self.dropped))

    def encode(self) -> bytes:
        """The payload of its frame; `decode` reads it."""
        shadows = [
            {
                "model": one.model, "version": one.version, "salt": one.salt,
                "offered": one.offered, "sent": one.sent, "shed": dict(one.shed),
            }
            for one in self.shadows
        ]  # fmt: skip
        said = {"worker": self.worker, "boot": self.boot, "shadows": shadows, "dropped": dict(self.dropped)}
        return ENCODER.encode(said).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Shed:
        """What `encode` wrote; members of a newer release are passed over.

        Raises:
            ValueError: it is something else.
        """
        return told(_shed, payload)


def written(  # noqa: PLR0917 (a worker builds no `Captured`: to check what it counted itself costs it more)
    model: str, request_id: str, nonce: int, epoch: int, at_s: float, protocol: str, assigned: int, stable: int,
    salt: str, segment: Mapping[str, str], headers: bytes, request: bytes | None, *answers: PlainAnswer,
) -> list[bytes]:  # fmt: skip
    """The pieces of a `Captured` with these attributes as its frame's payload, without a look at what they are.

    Its head is put together by hand, for an encoder of JSON takes five times as long; bodies are passed on, not copied.
    """
    blobs, heads = [b"", headers], []
    if request is not None:
        blobs.append(request)
    for version, outcome, code, took_s, lines, body, size in answers:
        blobs.append(lines)
        if body is not None:
            blobs.append(body)
        heads.append(f'[{version},"{outcome}",{code},{took_s!r},{size},[{len(lines)},{_length(body)}]]')
    head = (
        f'{{"model":{_quoted(model)},"request_id":{_quoted(request_id)},"nonce":{nonce},"epoch":{epoch},"at_s":{at_s!r},'
        f'"protocol":"{protocol}","assigned":{assigned},"stable":{stable},"salt":{_quoted(salt)},'
        f'"segment":{ENCODER.encode(dict(segment)) if segment else "{}"},"lengths":[{len(headers)},{_length(request)}],'
        f'"answers":[{",".join(heads)}]}}'
    ).encode()
    blobs[0] = len(head).to_bytes(_LENGTH, "big") + head
    return blobs


def _quoted(text: str) -> str:
    """As JSON; an encoder looks at each character, and there is seldom anything to see."""
    plain = text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
    return f'"{text}"' if plain else ENCODER.encode(text)


def _length(body: bytes | None) -> int | str:
    return "null" if body is None else len(body)


def _captured(payload: bytes) -> Captured:
    blobs = _Blobs(payload)
    said = object_of(blobs.take(int.from_bytes(blobs.take(_LENGTH), "big")))
    headers, request = blobs.pair(said["lengths"])
    first, *copies = [_answered(one, blobs) for one in said["answers"]]
    blobs.end()
    return Captured(
        said["model"], said["request_id"], said["nonce"], said["epoch"], said["at_s"], said["protocol"],
        said["assigned"], said["stable"], said["salt"], said["segment"], headers, request, first, tuple(copies),
    )  # fmt: skip


def _answered(said: Sequence[Any], blobs: _Blobs) -> Answered:
    version, outcome, code, took_s, size, lengths = said[:6]
    return Answered(version, outcome, code, took_s, *blobs.pair(lengths), size)


def _terms(payload: bytes) -> Terms:
    models = object_of(payload)["models"]
    return Terms({_text(name): ModelTerms(one["epoch"], one["comparison"]) for name, one in models.items()})


def _shed(payload: bytes) -> Shed:
    said = object_of(payload)
    shadows = tuple(
        ShadowShed(one["model"], one["version"], one["salt"], one["offered"], one["sent"], one["shed"])
        for one in said["shadows"]
    )
    return Shed(said["worker"], said["boot"], shadows, said["dropped"])


class _Blobs:
    """Takes one blob after the other off a payload."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    def take(self, length: int) -> bytes:
        number(length, "a length")
        begin, self._at = self._at, self._at + length
        if self._at > len(self._payload):
            raise ValueError(f"what a worker handed over ends at {len(self._payload)} bytes, before {self._at}")
        return self._payload[begin : self._at]

    def pair(self, lengths: Sequence[int | None]) -> tuple[bytes, bytes | None]:
        """Headers, and a body where there is one."""
        of_headers, of_body = lengths
        return self.take(of_headers or 0), None if of_body is None else self.take(of_body)

    def end(self) -> None:
        if self._at != len(self._payload):
            raise ValueError(f"what a worker handed over has {len(self._payload) - self._at} bytes too many")


def _text(value: object, *, least: int = 1, most: int = MOST) -> str:
    found = text(value, least=least, most=most)
    found.encode()  # half a surrogate pair is no text: that is a ValueError, too
    return found


def _bytes(headers: object, body: object) -> None:
    if type(headers) is not bytes or not (body is None or isinstance(body, bytes)):
        raise ValueError("headers and bodies are bytes")


def _counts(said: Mapping[str, int]) -> Mapping[str, int]:
    for name, count in said.items():
        _text(name)
        number(count, "a total")
    return MappingProxyType(dict(said))
