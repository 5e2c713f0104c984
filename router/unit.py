"""Where a unit's name comes from: fields and places in a JSON body, tried in order.

A policy's `unit_header` is asked first, then its `unit_sources`; where none of them names anybody, the nonce of the
request id is the unit, which is fair but not sticky. An empty value names nobody: it would put all anonymous
requests into one arm. A body is read only by policies that ask for it, and only up to a size; one that is larger, or
no JSON, or has something else at that place, names nobody either.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from router.errors import PolicyError
from router.match import Place, Said, check_field_name, check_place

LARGEST_BODY = 1_048_576
"""Bytes: reading JSON takes some 20 ms per MiB, during which a worker does nothing else."""

DEFAULT_BODY = 65_536
MOST_SOURCES = 8
_LONGEST_PATH = 256
_STEP = re.compile(r"\.(?P<key>[A-Za-z_][A-Za-z0-9_-]*)|\[(?P<index>\d{1,6})\]|\['(?P<quoted>[^'\\]+)'\]", re.ASCII)


@dataclass(frozen=True, slots=True)
class FieldSource:
    """A header or a key of gRPC metadata."""

    name: str
    place: Place = Place.ANY
    key: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_field_name(self.name)
        check_place(self.place)
        object.__setattr__(self, "key", self.name.encode())

    def unit(self, said: Said, _body: bytes | None) -> bytes | None:
        """The field's value."""
        return said.at(self.place, self.key) or None


@dataclass(frozen=True, slots=True)
class JsonSource:
    """A place in a JSON body: `$.user.id`, `$.inputs[0].data[2]`, `$['odd key']`.

    Texts and whole numbers name a unit (5 and "5" the same one); anything else names nobody.

    Attributes:
        path: `$`, then one step or more.
        max_bytes: a larger body is not read.
    """

    path: str
    max_bytes: int = DEFAULT_BODY
    steps: tuple[str | int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.max_bytes, bool) or not isinstance(self.max_bytes, int) or self.max_bytes < 1:
            raise PolicyError(f"{self.max_bytes!r} is no size of a body: it is a whole number of bytes from 1")
        if self.max_bytes > LARGEST_BODY:
            raise PolicyError(f"bodies of {self.max_bytes:,} bytes are not read for a unit: at most {LARGEST_BODY:,}")
        object.__setattr__(self, "steps", _steps_of(self.path))

    def unit(self, _said: Said, body: bytes | None) -> bytes | None:
        """What stands at that place in the body."""
        if body is None or len(body) > self.max_bytes:
            return None
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            return None
        for step in self.steps:
            found = _inside(found, step)
        return _named_by(found)


UnitSource = FieldSource | JsonSource


def unit_of(unit_header: str, sources: tuple[UnitSource, ...], said: Said, body: bytes | None = None) -> bytes | None:
    """The unit that the request names; None where it names none, and the nonce of its id is to be used.

    Args:
        unit_header: the field that is asked first.
        sources: those that are asked next.
        said: the request's fields.
        body: the JSON of the request, whole; None where it is not there or was not kept.
    """
    named = said.fields.get(unit_header.encode())
    if named:
        return named
    return next((unit for source in sources if (unit := source.unit(said, body)) is not None), None)


def body_needed(sources: tuple[UnitSource, ...]) -> int:
    """How many bytes of a body must be held before a version can be chosen; 0 where no source reads bodies."""
    return max((source.max_bytes for source in sources if isinstance(source, JsonSource)), default=0)


def check_sources(sources: object) -> None:
    """Refuses what is no list of sources."""
    if not isinstance(sources, tuple) or not all(isinstance(one, FieldSource | JsonSource) for one in sources):
        raise PolicyError("unit sources are a tuple of fields and places in a body")
    if len(sources) > MOST_SOURCES or len(set(sources)) < len(sources):
        raise PolicyError(f"there are at most {MOST_SOURCES} unit sources, each named once")


def _steps_of(path: object) -> tuple[str | int, ...]:
    wrong = PolicyError(f"{path!r:.80} is no place in a body: write it like $.user.id or $.inputs[0].data[2]")
    if not isinstance(path, str) or not path.startswith("$") or not 1 < len(path) <= _LONGEST_PATH:
        raise wrong
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise wrong from error
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if not found:
            raise wrong
        at = found.end()
        steps.append(int(found["index"]) if found["index"] else found["key"] or found["quoted"])
    return tuple(steps)


def _inside(value: object, step: str | int) -> object:
    if isinstance(step, str):
        return value.get(step) if isinstance(value, dict) else None
    return value[step] if isinstance(value, list) and step < len(value) else None


def _named_by(value: object) -> bytes | None:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    try:
        return str(value).encode()
    except (UnicodeEncodeError, ValueError):  # half a surrogate pair; a number of more digits than Python writes
        return None
