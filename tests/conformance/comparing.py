"""Two servers' answers to the same vectors, side by side: where they are equal, and why not where they are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any, NamedTuple

from tests.conformance.differences import Why
from tests.conformance.grpc import vectors as grpc_table
from tests.conformance.http import vectors as http_table
from tests.conformance.targets import Profile

_WIDTH = 56


@unique
class Likeness(StrEnum):
    """How two answers compare."""

    EQUAL = "equal"
    LISTED = "differ as listed"
    UNLISTED = "differ otherwise"


class Entry(NamedTuple):
    """A vector, as far as it matters here.

    Attributes:
        name: with the protocol that it goes over.
        profile: its part of the protocol.
        why: the case on which the gateway's own answer rests; None where there is none.
    """

    name: str
    profile: Profile
    why: Why | None


@dataclass(frozen=True)
class Row:
    """A vector and what came of it at both.

    Attributes:
        entry: the vector.
        alone: Triton's answer; None where there is none.
        behind: the gateway's.
    """

    entry: Entry
    alone: Any
    behind: Any

    @property
    def likeness(self) -> Likeness:
        """Status, headers that matter, body or messages, and what is left of the connection."""
        if self.alone == self.behind:
            return Likeness.EQUAL
        return Likeness.LISTED if self.entry.why and self.alone and self.behind else Likeness.UNLISTED


def entries() -> Iterator[Entry]:
    """Every vector of both protocols."""
    for over_http in http_table.vectors():
        own = over_http.gateway
        yield Entry(f"HTTP {over_http.name}", over_http.profile, own.why if own else None)
    for over_grpc in grpc_table.vectors():
        reason = over_grpc.gateway
        yield Entry(f"gRPC {over_grpc.name}", over_grpc.profile, reason.why if reason else None)


def compare(table: Iterable[Entry], alone: Mapping[str, Any], behind: Mapping[str, Any]) -> list[Row]:
    """A row for each vector that either server was asked."""
    asked = alone.keys() | behind.keys()
    return [Row(one, alone.get(one.name), behind.get(one.name)) for one in table if one.name in asked]


def is_sound(rows: Iterable[Row]) -> bool:
    """Whether every difference is one of the protocol's."""
    return all(row.likeness is not Likeness.UNLISTED for row in rows)


def written(rows: Iterable[Row]) -> str:
    """The table: how many of each profile, then every difference with its reason."""
    rows = list(rows)
    lines = [*_counted(rows), ""]
    for why in (None, *Why):
        differing = [row for row in rows if row.likeness is not Likeness.EQUAL and _reason(row) is why]
        if differing:
            lines += [f"{why.value if why else 'NOT LISTED IN THE PROTOCOL'}:", *map(_line, differing), ""]
    return "\n".join(lines)


def _counted(rows: Iterable[Row]) -> Iterator[str]:
    counts = Counter((row.entry.name[:4], row.entry.profile, row.likeness) for row in rows)
    yield "".join(["profile".ljust(16), *(one.rjust(len(one) + 4) for one in ("vectors", *Likeness))])
    for over in ("HTTP", "gRPC"):
        for profile in Profile:
            found = [counts[over, profile, likeness] for likeness in Likeness]
            if sum(found):
                cells = zip((sum(found), *found), ("vectors", *Likeness), strict=True)
                yield "".join([f"{over} {profile}".ljust(16), *(str(n).rjust(len(head) + 4) for n, head in cells)])


def _reason(row: Row) -> Why | None:
    return row.entry.why if row.likeness is Likeness.LISTED else None


def _line(row: Row) -> str:
    return f"  {row.entry.name.ljust(_WIDTH)}  {_short(row.alone).ljust(_WIDTH)}  {_short(row.behind)}"


def _short(answer: Any) -> str:  # noqa: ANN401 (what was saved)
    """The status, and as much of the rest as a line has room for."""
    if answer is None:
        return "not asked"
    if "answers" in answer:
        said = [f"{one['status'][:3]} {one.get('body', 'binary')}" for one in answer["answers"]]
        text = "; ".join((*said, *([] if answer["after"] == "open" else [answer["after"]])))
    else:
        text = " ".join((answer["status"], answer["details"], *answer["messages"]))
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 2]} …"
