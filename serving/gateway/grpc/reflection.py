"""Server reflection (v1 and v1alpha): which services there are, and the files that describe them.

The files are protobuf's descriptors of Triton's own services, of health and of reflection, as `scripts/make_protos.py`
wrote them into `protos.binpb`. They are read when somebody asks for the first time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from serving.gateway.grpc.conversation import Conversation
from serving.gateway.grpc.messages import Malformed, fields_of, text, whole
from serving.gateway.grpc.methods import HEALTH, INFERENCE, REFLECTIONS
from serving.gateway.grpc.status import Code

PROTOS: Final = Path(__file__).with_name("protos.binpb")
"""A FileDescriptorSet; a file's imports stand before it."""
SERVICES: Final = (INFERENCE, HEALTH, *REFLECTIONS)
# Fields of a ServerReflectionRequest, and of the answer.
_BY_FILE, _BY_SYMBOL, _BY_EXTENSION, _EXTENSIONS_OF, _LIST = 3, 4, 5, 6, 7
_ORIGINAL, _FILES, _NUMBERS, _SERVICES, _ERROR = 2, 4, 5, 6, 7
# Of a FileDescriptorProto, and of what it holds: https://protobuf.dev, descriptor.proto.
_NAME, _PACKAGE, _DEPENDENCY, _MESSAGES, _ENUMS, _FILE_SERVICES = 1, 2, 3, 4, 5, 6
_NESTED, _NESTED_ENUMS, _METHODS = 3, 4, 2


class File(NamedTuple):
    """One described file.

    Attributes:
        data: its descriptor.
        imports: names of the files that it needs.
    """

    data: bytes
    imports: tuple[str, ...]


class Described(NamedTuple):
    """All of them.

    Attributes:
        files: by name.
        homes: the name of the file that each symbol stands in.
    """

    files: Mapping[str, File]
    homes: Mapping[str, str]


@cache
def described() -> Described:
    """What there is to be told."""
    files: dict[str, File] = {}
    homes: dict[str, str] = {}
    for data in _texts(PROTOS.read_bytes(), 1):
        name = _text(data, _NAME)
        files[name] = File(data, tuple(found.decode() for found in _texts(data, _DEPENDENCY)))
        homes |= dict.fromkeys(_symbols(data), name)
    return Described(files, homes)


class ReflectionCall(Conversation):
    """A client that asks what there is."""

    __slots__ = ()

    def answer(self, question: bytes) -> None:
        """One answer for each question."""
        self.say(answered(question))


def answered(question: bytes) -> bytes:
    """The ServerReflectionResponse to this ServerReflectionRequest.

    Raises:
        Malformed: it is none.
    """
    asked = dict(fields_of(question))
    original = text(_ORIGINAL, question)
    host = asked.get(1)
    head = (text(1, host) if isinstance(host, bytes) else b"") + original
    try:
        return head + _answer(asked)
    except (KeyError, UnicodeDecodeError):
        said = whole(1, Code.NOT_FOUND) + text(2, b"That is not described here.")
        return head + text(_ERROR, said)


def _answer(asked: Mapping[int, int | bytes]) -> bytes:
    known = described()
    if _LIST in asked:
        return text(_SERVICES, b"".join(text(1, text(1, name.encode())) for name in SERVICES))
    if _BY_FILE in asked:
        return text(_FILES, _with_imports(_name(asked[_BY_FILE])))
    if _BY_SYMBOL in asked:
        return text(_FILES, _with_imports(known.homes[_name(asked[_BY_SYMBOL])]))
    if _EXTENSIONS_OF in asked:  # proto3 has none
        name = _name(asked[_EXTENSIONS_OF])
        return text(_NUMBERS, text(1, name.encode())) if name in known.homes else _answer({_BY_SYMBOL: b""})
    raise KeyError(_BY_EXTENSION)


def _name(value: int | bytes) -> str:
    if not isinstance(value, bytes):
        raise Malformed("a name is a text")
    return value.decode()


def _with_imports(name: str) -> bytes:
    """The file, and all that it needs, each once."""
    files = described().files
    wanted = [name]
    for each in wanted:
        wanted += [needed for needed in files[each].imports if needed not in wanted]
    return b"".join(text(1, files[each].data) for each in wanted)


def _symbols(file: bytes) -> Iterable[str]:
    """The full names of everything that the file describes."""
    package = _text(file, _PACKAGE)
    for message in _texts(file, _MESSAGES):
        yield from _in_message(package, message)
    for enum in _texts(file, _ENUMS):
        yield f"{package}.{_text(enum, _NAME)}"
    for service in _texts(file, _FILE_SERVICES):
        name = f"{package}.{_text(service, _NAME)}"
        yield name
        yield from (f"{name}.{_text(method, _NAME)}" for method in _texts(service, _METHODS))


def _in_message(scope: str, message: bytes) -> Iterable[str]:
    name = f"{scope}.{_text(message, _NAME)}"
    yield name
    for nested in _texts(message, _NESTED):
        yield from _in_message(name, nested)
    for enum in _texts(message, _NESTED_ENUMS):
        yield f"{name}.{_text(enum, _NAME)}"


def _text(message: bytes, number: int) -> str:
    return next(iter(_texts(message, number)), b"").decode()


def _texts(message: bytes, number: int) -> Iterable[bytes]:
    return (value for found, value in fields_of(message) if found == number and isinstance(value, bytes))
