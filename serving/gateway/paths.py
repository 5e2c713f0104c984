"""What a request line asks for: the HTTP surface of the Open Inference Protocol as one table.

Only names the operation; who answers it (the gateway itself or a model version) is `dispatch`'s business. Results
are remembered, for a client sends the same few paths again and again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import unquote_to_bytes

_REMEMBERED = 4096
_LONGEST_REMEMBERED = 256
_LONGEST_VERSION = 10


class Operation(Enum):
    """What a path stands for."""

    __hash__ = object.__hash__  # each is there once; an enumeration's own hash is a function of Python's

    LIVE = auto()
    READY = auto()
    SERVER = auto()
    INDEX = auto()
    LOAD = auto()
    MODEL_READY = auto()
    METADATA = auto()
    CONFIG = auto()
    STATS = auto()
    ALL_STATS = auto()
    INFER = auto()
    GENERATE = auto()
    GENERATE_STREAM = auto()
    NOT_OFFERED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Target:
    """A path, understood.

    Attributes:
        operation: what is asked.
        method: the one HTTP method that the operation answers to; empty for any.
        model: the model's name, '' where the path names none.
        version: the version in the path as the client wrote it, None where there is none.
        tail: what follows the version in the upstream's path, query included.
    """

    operation: Operation
    method: bytes
    model: str = ""
    version: str | None = None
    tail: bytes = b""

    @property
    def number(self) -> int:
        """The version in the path as a number; 0, which no version has, where it is none."""
        text = self.version or ""
        return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_VERSION else 0


_NAMED_INDEX = len(("v2", "repository", "NAME", "index"))
UNKNOWN = Target(Operation.UNKNOWN, b"")
_FIXED = {
    b"/v2": Target(Operation.SERVER, b"GET"),
    b"/v2/health/live": Target(Operation.LIVE, b"GET"),
    b"/v2/health/ready": Target(Operation.READY, b"GET"),
    b"/v2/models/stats": Target(Operation.ALL_STATS, b"GET"),
    b"/v2/repository/index": Target(Operation.INDEX, b"POST"),
}
_OF_A_MODEL = {
    b"": (Operation.METADATA, b"GET"),
    b"ready": (Operation.MODEL_READY, b"GET"),
    b"config": (Operation.CONFIG, b"GET"),
    b"stats": (Operation.STATS, b"GET"),
    b"infer": (Operation.INFER, b"POST"),
    b"generate": (Operation.GENERATE, b"POST"),
    b"generate_stream": (Operation.GENERATE_STREAM, b"POST"),
    b"trace/setting": (Operation.NOT_OFFERED, b""),
}
_ELSEWHERE = frozenset((b"systemsharedmemory", b"cudasharedmemory", b"trace", b"logging"))
_remembered: dict[bytes, Target] = {}


def target_of(url: bytes) -> Target:
    """The target of a request line's URL, in origin form or absolute."""
    known = _remembered.get(url)
    if known is not None:
        return known
    target = _understand(url)
    if len(url) <= _LONGEST_REMEMBERED:
        if len(_remembered) >= _REMEMBERED:
            _remembered.clear()
        _remembered[url] = target
    return target


def _understand(url: bytes) -> Target:
    if not url.startswith(b"/"):
        url = _origin_form(url)
    path, mark, query = url.partition(b"?")
    if path in _FIXED:
        return _FIXED[path]
    if path.startswith(b"/v2/models/"):
        return _of_a_model(path, mark + query)
    if path.startswith(b"/v2/repository/") and path.endswith(b"/index") and path.count(b"/") == _NAMED_INDEX:
        return _FIXED[b"/v2/repository/index"]
    if path.startswith(b"/v2/repository/models/") and path.endswith((b"/load", b"/unload")):
        return Target(Operation.LOAD, b"POST")
    if path.startswith(b"/v2/") and path.split(b"/")[2] in _ELSEWHERE:
        return Target(Operation.NOT_OFFERED, b"")
    return UNKNOWN


def _origin_form(url: bytes) -> bytes:
    """What is left of `http://host/path?query`, which every server must take (RFC 9112, 3.2.2)."""
    scheme, mark, rest = url.partition(b"://")
    if not mark or scheme.lower() not in {b"http", b"https"}:
        return url
    _, slash, path = rest.partition(b"/")
    return slash + path


def _of_a_model(path: bytes, query: bytes) -> Target:
    model, *rest = path.removeprefix(b"/v2/models/").split(b"/")
    version: str | None = None
    if rest and rest[0] == b"versions":
        number, *rest = rest[1:] or [b""]
        if not rest and number in _OF_A_MODEL:  # /versions, or /versions/infer
            return UNKNOWN
        version = _text(number)
    verb = b"/".join(rest)
    found = _OF_A_MODEL.get(verb)
    if not model or not found or (rest and not verb):
        return UNKNOWN
    operation, method = found
    tail = (b"/" + verb if verb else b"") + query
    return Target(operation, method, _text(model), version, tail)


def _text(quoted: bytes) -> str:
    return unquote_to_bytes(quoted).decode("utf-8", "replace")
