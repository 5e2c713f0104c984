"""A batch of sampled requests with their answers, as it stands in a model's stream: values, and bytes and back.

A keeper numbers its batches of a model from 1, and each says what that keeper was offered, wrote and dropped in all.
So a reader knows which batches it has had already, and how many rows lie between two that it got: what fell off the
bounded stream is counted by whoever reads it. A batch without requests says the totals alone, where nothing could be
written.

Tensors are as the protocol has them; `drift.flattening` makes tables of them. Which requests are sampled is
`drift.sampling`'s. What decodes badly is refused with ValueError, whatever it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

READER: Final = 1
"""The oldest form of readers that understand what is written here."""

LONGEST: Final = 32 * 1024 * 1024
"""Bytes of a batch."""

MOST_ROWS: Final = 256
"""Of one request: of a longer one that many are sampled."""

MOST_REQUESTS: Final = 100_000
MOST_TENSORS: Final = 1_000
LONGEST_NAME: Final = 1_024
MOST_DIMENSIONS: Final = 32

_LENGTH: Final = 4
_OLDER: Final = 6  # members of a request in what an earlier release wrote
_MOST: Final = 2**63
_TYPES: Final[Mapping[str, np.dtype[Any]]] = MappingProxyType({
    "BOOL": np.dtype("?"), "UINT8": np.dtype("u1"), "UINT16": np.dtype("<u2"), "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"), "INT8": np.dtype("i1"), "INT16": np.dtype("<i2"), "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"), "FP16": np.dtype("<f2"), "FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"),
})  # fmt: skip
_WIDENED: Final = {"BF16": "FP32"}
_TEXT: Final = "BYTES"
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False, allow_nan=False)


class Role(StrEnum):
    """Whose answer it is."""

    STABLE = "stable"
    """The client's, by the version that is stable."""
    ARM = "arm"
    """The client's, by another version."""
    SHADOW = "shadow"
    """A copy's: nobody but us has seen it."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output.

    Attributes:
        name: as in the request.
        datatype: Triton's name of it, such as FP32; BF16 is widened to FP32, which loses nothing.
        shape: as the message has it, with the batch dimension.
        data: values in order, little-endian; of BYTES each after its length in four bytes.

    Raises:
        ValueError: they do not belong together.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes

    def __post_init__(self) -> None:
        if type(self.name) is not str or type(self.data) is not bytes:
            raise ValueError("a tensor has a name and bytes")
        _check_shape(self.shape)
        if self.datatype == _TEXT:
            if sum(1 for _ in _texts(self.data)) != self.size:
                raise ValueError(f"a tensor of the shape {list(self.shape)} has not as many texts")
        elif self.datatype not in _TYPES:
            raise ValueError(f"{self.datatype!r:.40} is no datatype of a sampled tensor")
        elif len(self.data) != self.size * _TYPES[self.datatype].itemsize:
            raise ValueError(f"a tensor of the shape {list(self.shape)} has {len(self.data)} bytes")

    @property
    def size(self) -> int:
        """How many values."""
        return math.prod(self.shape)

    def values(self) -> NDArray[Any]:
        """As an array in the tensor's shape; of BYTES, objects of type `bytes`."""
        if self.datatype != _TEXT:
            return np.frombuffer(self.data, _TYPES[self.datatype]).reshape(self.shape)
        made = np.empty(self.size, object)
        made[:] = list(_texts(self.data))
        return made.reshape(self.shape)


def tensor_of(name: str, datatype: str, values: NDArray[Any]) -> Tensor:
    """The tensor with these values; arguments as `Tensor` has them.

    Raises:
        ValueError: the values are not of that datatype.
    """
    kept = _WIDENED.get(datatype, datatype)
    if kept == _TEXT:
        data = b"".join(len(one).to_bytes(_LENGTH, "little") + one for one in values.reshape(-1).tolist())
    elif kept in _TYPES:
        data = values.astype(_TYPES[kept], copy=False).tobytes()
    else:
        raise ValueError(f"{datatype!r:.40} is no datatype of a sampled tensor")
    return Tensor(name, kept, tuple(values.shape), data)


def dtype_of(datatype: str) -> np.dtype[Any] | None:
    """Numpy's type for numbers of that datatype, little-endian; None of texts, and of what no sample is kept as."""
    return _TYPES.get(datatype)


def rows_in(shapes: Iterable[tuple[int, ...]]) -> int | None:
    """The length of the first axis that tensors of these shapes have in common; None where they have none."""
    lengths = {shape[0] if shape else None for shape in shapes}
    return lengths.pop() if len(lengths) == 1 else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one version answered.

    Attributes:
        version: that answered.
        role: whose answer it is.
        outputs: None where they are not known: too long, or not readable.
    """

    version: int
    role: Role
    outputs: tuple[Tensor, ...] | None

    def __post_init__(self) -> None:
        _check_number(self.version, "a version", least=1)
        _check_tensors(self.outputs or ())


@dataclass(frozen=True, slots=True)
class Request:
    """One request with its answers.

    Attributes:
        at_s: when it was answered, seconds since 1970.
        key: 64 bits, a hash of its id.
        segment: what it says in those headers that its model's comparison names.
        inputs: what was asked.
        answers: of versions that answered well, the client's first; no two by one version.
        named: whether it named the outputs that it wants, so that others are not there.
        id: that the client was told, by which labels are found that come later; empty where nobody wrote it down.

    Raises:
        ValueError: one of them is something else.
    """

    at_s: float
    key: int
    segment: Mapping[str, str]
    inputs: tuple[Tensor, ...]
    answers: tuple[Answer, ...]
    named: bool = False
    id: str = ""

    def __post_init__(self) -> None:
        if type(self.id) is not str or len(self.id) > LONGEST_NAME:
            raise ValueError("the id of a request is a text")
        if type(self.at_s) not in {int, float} or not 0 <= self.at_s < math.inf:
            raise ValueError(f"{self.at_s!r:.40} is no time")
        _check_number(self.key, "a key", most=2**64 - 1)
        _check_tensors(self.inputs)
        versions = [one.version for one in self.answers]
        if len(set(versions)) < len(versions):
            raise ValueError("a version answers a request once")
        if any(type(one) is not str for pair in self.segment.items() for one in pair):
            raise ValueError("a segment is a text by name")
        object.__setattr__(self, "segment", MappingProxyType(dict(self.segment)))

    @property
    def rows(self) -> int:
        """Of all its answers, as keepers count them: of one whose tensors have no axis in common, one."""
        return sum(_rows((*self.inputs, *(one.outputs or ()))) for one in self.answers)

    @property
    def size(self) -> int:
        """Roughly the bytes that it takes."""
        every = [*self.inputs, *(one for answer in self.answers for one in answer.outputs or ())]
        return 128 + sum(64 + len(one.data) for one in every)


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of rows since a keeper began, of one model; one that cannot be read counts as one row.

    Attributes:
        offered: that were drawn.
        written: of those, in this batch and all before it.
        dropped: of those, by the reason. What is neither waits to be written.
    """

    offered: int = 0
    written: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, count in {"offered": self.offered, "written": self.written, **self.dropped}.items():
            _check_number(count, f"a total of {name}")
        object.__setattr__(self, "dropped", MappingProxyType(dict(self.dropped)))


@dataclass(frozen=True, slots=True)
class Batch:
    """One entry of a model's stream.

    Attributes:
        model: its name.
        keeper: names one life of the keeper that wrote it: the gateway's id and its own, with a blank between.
        number: of this batch among those of that keeper and model, from 1.
        totals: of that keeper and model.
        requests: in the order in which they came.
        hidden: names of tensors that are not here because their values are redacted.

    Raises:
        ValueError: one of them is something else.
    """

    model: str
    keeper: str
    number: int
    totals: Totals
    requests: tuple[Request, ...] = ()
    hidden: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text in (self.model, self.keeper, *self.hidden):
            if type(text) is not str or not text:
                raise ValueError("names of models, keepers and tensors are texts")
        _check_number(self.number, "the number of a batch", least=1)
        if len(self.requests) > MOST_REQUESTS:
            raise ValueError(f"a batch holds at most {MOST_REQUESTS:,} requests")

    def encode(self) -> bytes:
        """Its bytes; `batch_from` reads them."""
        blobs: list[bytes] = []
        totals = self.totals
        head = _ENCODER.encode({
            "reader": READER, "model": self.model, "keeper": self.keeper, "number": self.number,
            "totals": [totals.offered, totals.written, dict(totals.dropped)], "hidden": list(self.hidden),
            "requests": [_said_of(one, blobs) for one in self.requests],
        }).encode()  # fmt: skip
        return b"".join((len(head).to_bytes(_LENGTH, "big"), head, *blobs))


def batch_from(raw: bytes) -> Batch:
    """What `Batch.encode` wrote; members of a newer release are passed over.

    Raises:
        ValueError: it is something else.
    """
    if len(raw) > LONGEST:
        raise ValueError(f"a batch has at most {LONGEST:,} bytes, not {len(raw):,}")
    try:
        return _batch(raw)
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError, IndexError) as error:
        raise ValueError(f"a batch of samples is damaged: {error!r:.200}") from error


def _said_of(request: Request, blobs: list[bytes]) -> list[Any]:
    inputs = _tensors_said(request.inputs, blobs)
    answers = [
        [one.version, one.role.value, None if one.outputs is None else _tensors_said(one.outputs, blobs)]
        for one in request.answers
    ]
    return [request.at_s, request.key, dict(request.segment), inputs, answers, request.named, request.id]


def _tensors_said(tensors: Iterable[Tensor], blobs: list[bytes]) -> list[Any]:
    said = []
    for one in tensors:
        said.append([one.name, one.datatype, list(one.shape), len(one.data)])
        blobs.append(one.data)
    return said


def _batch(raw: bytes) -> Batch:
    blobs = _Blobs(raw)
    said = json.loads(blobs.take(int.from_bytes(blobs.take(_LENGTH), "big")))
    if said["reader"] != READER:
        raise ValueError(f"a batch is written for readers of form {said['reader']!r:.20}, and this one reads {READER}")
    offered, written, dropped = said["totals"][:3]
    requests = tuple(_request(one, blobs) for one in said["requests"])
    blobs.end()
    totals = Totals(offered, written, dropped)
    return Batch(said["model"], said["keeper"], said["number"], totals, requests, tuple(said["hidden"]))


def _request(said: Sequence[Any], blobs: _Blobs) -> Request:
    at_s, key, segment, listed, answers, named = said[:6]
    inputs, request_id = blobs.tensors(listed), said[6] if len(said) > _OLDER else ""
    return Request(at_s, key, segment, inputs, tuple(_answer(one, blobs) for one in answers), named is True, request_id)


def _answer(said: Sequence[Any], blobs: _Blobs) -> Answer:
    version, role, listed = said[:3]
    return Answer(version, Role(role), None if listed is None else blobs.tensors(listed))


class _Blobs:
    """Takes one blob after the other off a batch."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, length: int) -> bytes:
        _check_number(length, "a length")
        begin, self._at = self._at, self._at + length
        if self._at > len(self._raw):
            raise ValueError(f"a batch of samples ends at {len(self._raw)} bytes, before {self._at}")
        return self._raw[begin : self._at]

    def tensors(self, listed: Sequence[Sequence[Any]]) -> tuple[Tensor, ...]:
        return tuple(Tensor(one[0], one[1], tuple(one[2]), self.take(one[3])) for one in listed)

    def end(self) -> None:
        if self._at != len(self._raw):
            raise ValueError(f"a batch of samples has {len(self._raw) - self._at} bytes too many")


def _texts(data: bytes) -> Iterator[bytes]:
    """Byte strings, each after its length in four bytes."""
    at = 0
    while at < len(data):
        start = at + _LENGTH
        at = start + int.from_bytes(data[at:start], "little")
        if at > len(data):
            raise ValueError("a tensor of texts is cut off")
        yield data[start:at]


def _rows(tensors: Iterable[Tensor]) -> int:
    along = rows_in(one.shape for one in tensors)
    return 1 if along is None else min(along, MOST_ROWS)


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) > MOST_DIMENSIONS or any(type(size) is not int or not 0 <= size <= LONGEST for size in shape):
        raise ValueError(f"{shape!r:.80} is no tensor's shape")


def _check_tensors(tensors: Sequence[Tensor]) -> None:
    names = {one.name for one in tensors}
    if len(names) < len(tensors) or len(tensors) > MOST_TENSORS or any(len(one) > LONGEST_NAME for one in names):
        raise ValueError(
            f"a tensor has a name of its own, of {LONGEST_NAME:,} letters at most, and {MOST_TENSORS:,} are the most"
        )


def _check_number(value: object, what: str, *, least: int = 0, most: int = _MOST) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r:.40} is not {what}: a whole number from {least} to {most}")
