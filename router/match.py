"""What a rule or a shadow may ask of a request: whether one of its fields is, begins with, matches or is among.

A field is an HTTP header or a key of gRPC metadata (which are header fields of HTTP/2, so both are one mapping here).
The test of each condition is made ready when the condition is built; asking it is one look-up and one call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from router.errors import PolicyError
from router.pattern import Pattern

MOST_VALUES = 1_000
LONGEST_TEXT = 256
MOST_CONDITIONS = 8

_FIELD_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")


class Place(StrEnum):
    """Where a field is looked for."""

    ANY = "any"
    """An HTTP header or gRPC metadata, whichever the request has."""
    HEADER = "header"
    """HTTP only: a gRPC request has none."""
    METADATA = "metadata"
    """gRPC only."""


class How(StrEnum):
    """How a field is compared."""

    EQUALS = "equals"
    PREFIX = "prefix"
    REGEX = "regex"
    IN = "in"


class Said(NamedTuple):
    """What a request says in its fields.

    Attributes:
        fields: values by lower-case name, as the gateway holds them: handing them in copies nothing.
        grpc: whether they are gRPC metadata.
    """

    fields: Mapping[bytes, bytes]
    grpc: bool = False

    def at(self, place: Place, name: bytes) -> bytes | None:
        """The field's value; None where there is none, or where it would be of the other protocol."""
        if place is not Place.ANY and (place is Place.METADATA) is not self.grpc:
            return None
        return self.fields.get(name)


SILENT = Said(MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Match:
    """A condition on one field. A field that is not there fulfils none.

    Attributes:
        name: of the field, in lower case.
        values: what it is compared with (UTF-8): one for `equals` and `regex` (see `router.pattern`), any number
            up to `MOST_VALUES` for `prefix` and `in`.
        how: the comparison.
        place: where the field is looked for.
    """

    name: str
    values: tuple[str, ...]
    how: How = How.EQUALS
    place: Place = Place.ANY
    key: bytes = field(init=False, repr=False, compare=False)
    grpc: bool | None = field(init=False, repr=False, compare=False)
    """The protocol that is asked, made ready: None for either."""
    passes: Callable[[bytes], bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_field_name(self.name)
        if not isinstance(self.how, How):
            raise PolicyError(f"{self.how!r} is no comparison: it is one of {', '.join(How)}")
        check_place(self.place)
        _check_values(self.how, self.values)
        object.__setattr__(self, "values", tuple(sorted(self.values)))  # their order says nothing
        object.__setattr__(self, "key", self.name.encode())
        object.__setattr__(self, "grpc", None if self.place is Place.ANY else self.place is Place.METADATA)
        object.__setattr__(self, "passes", _test_of(self.how, self.values))

    def holds(self, said: Said) -> bool:
        """Whether the request says so."""
        if self.grpc is not None and self.grpc is not said.grpc:
            return False
        value = said.fields.get(self.key)
        return value is not None and self.passes(value)

    def words(self) -> str:
        """'x-tier is 'gold'': the condition, as part of a sentence."""
        place = {Place.ANY: "", Place.HEADER: "header ", Place.METADATA: "metadata "}[self.place]
        shown = " or ".join(map(repr, self.values[:3])) + (
            f" or {len(self.values) - 3} others" if self.values[3:] else ""
        )
        return f"{place}{self.name} {_VERBS[self.how]} {shown}"


def all_hold(when: tuple[Match, ...], said: Said) -> bool:
    """Whether the request fulfils every condition; none at all is fulfilled by every request."""
    for match in when:  # noqa: SIM110 (a generator costs twice as much, on every request)
        if not match.holds(said):
            return False
    return True


def check_field_name(name: object) -> None:
    """Refuses what is no lower-case name of a field."""
    if not isinstance(name, str) or not _FIELD_NAME.fullmatch(name):
        raise PolicyError(f"{name!r} is no header name: use lower-case letters, digits and hyphens")


def check_place(place: object) -> None:
    """Refuses what is no place."""
    if not isinstance(place, Place):
        raise PolicyError(f"{place!r} is no place for a field: it is one of {', '.join(Place)}")


def check_conditions(when: object) -> None:
    """Refuses what is no list of conditions."""
    if not isinstance(when, tuple) or not all(isinstance(match, Match) for match in when):
        raise PolicyError("conditions are a tuple of matches")
    if len(when) > MOST_CONDITIONS:
        raise PolicyError(f"there are {len(when)} conditions in one place: at most {MOST_CONDITIONS}")


def _check_values(how: How, values: object) -> None:
    if not isinstance(values, tuple) or not all(map(_is_text, values)):
        raise PolicyError(f"a field is compared with texts of at most {LONGEST_TEXT} characters that UTF-8 can write")
    if not values or len(values) > MOST_VALUES or len(set(values)) < len(values):
        raise PolicyError(f"a field is compared with 1 to {MOST_VALUES:,} different values, not with {len(values)}")
    if len(values) > 1 and how in {How.EQUALS, How.REGEX}:
        raise PolicyError(f"'{how}' takes one value: use 'in' for several")


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _test_of(how: How, values: tuple[str, ...]) -> Callable[[bytes], bool]:
    if how is How.REGEX:
        return Pattern(values[0]).matches
    wanted = tuple(value.encode() for value in values)
    if how is How.PREFIX:
        return lambda value: value.startswith(wanted)
    return frozenset(wanted).__contains__


_VERBS: Mapping[How, str] = MappingProxyType(
    {How.EQUALS: "is", How.PREFIX: "begins with", How.REGEX: "matches", How.IN: "is one of"}
)
