"""Which places artifacts may come from: only those below a root that the settings list.

An address that arrives over the network names a file that this process can read and its sender perhaps cannot, so
nothing is guessed: a local path is followed to where it really leads, a remote one must be spelt plainly, and what
could be read in two ways (`..`, escapes, one file system inside another) is refused. Opening is left to
`registry.artifacts`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from registry.errors import Unacceptable

LOCAL = "file"
_WEB = frozenset({"http", "https"})

_ADDRESS = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]*):(?P<rest>.*)", re.DOTALL)
_PLAIN = re.compile(r"[^\x00-\x20\x7f\\%?#@*\[\]]+")


@dataclass(frozen=True, slots=True)
class Location:
    """A place: `file` and an absolute path without symbolic links, or another protocol and a plain path."""

    protocol: str
    path: str

    def __str__(self) -> str:
        """The address."""
        return f"{self.protocol}://{self.path}"

    def lies_in(self, root: Location) -> bool:
        """Whether this is the root or below it."""
        return self.protocol == root.protocol and f"{self.path}/".startswith(f"{root.path.rstrip('/')}/")


def locate(address: str) -> Location:
    """The place that an address names: a local path, file:///path, or protocol://path.

    Raises:
        Unacceptable: it could be read in two ways, or not at all.
    """
    if not isinstance(address, str) or not address or "::" in address or "\0" in address:
        raise _unreadable(address)
    found = _ADDRESS.fullmatch(address)
    protocol = found["protocol"].lower() if found else LOCAL
    rest = found["rest"] if found else address
    if protocol in {LOCAL, "local"}:
        return _local(address, rest, absolute=found is not None)
    names = rest.removeprefix("//").rstrip("/").split("/")
    if not rest.startswith("//") or not all(_PLAIN.fullmatch(name) and name not in {".", ".."} for name in names):
        raise _unreadable(address)
    return Location(protocol, "/".join(names))


@dataclass(frozen=True, slots=True)
class Roots:
    """The places that are listed. Without any, nothing is admitted."""

    listed: tuple[Location, ...]

    @classmethod
    def of(cls, addresses: Iterable[str]) -> Roots:
        """The roots at these addresses.

        Raises:
            Unacceptable: one of them is no address, or one of the web.
        """
        listed = tuple(map(locate, addresses))
        for root in listed:
            if root.protocol in _WEB:
                raise Unacceptable(
                    f"{root} cannot be a root of artifacts: what a web server redirects to lies below no root.",
                    "List a folder or an object store, such as s3://bucket/models.",
                )
        return cls(listed)

    def admit(self, address: str) -> Location:
        """The place that the address names.

        Raises:
            Unacceptable: it lies in no root that is listed; whether anything is there is not told.
        """
        place = locate(address)
        if not any(place.lies_in(root) for root in self.listed):
            roots = ", ".join(map(str, self.listed)) or "none"
            raise Unacceptable(
                f"An artifact at {address[:200]!r} is not admitted: it lies in none of the roots that are listed.",
                f"Put it below one of them ({roots}), or let an administrator list its root.",
            )
        return place


def _local(address: str, rest: str, *, absolute: bool) -> Location:
    path = rest.removeprefix("//") if absolute else rest
    if absolute and not path.startswith("/"):
        raise _unreadable(address)
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError) as error:
        raise _unreadable(address) from error
    if "::" in real:
        raise _unreadable(address)
    return Location(LOCAL, real)


def _unreadable(address: object) -> Unacceptable:
    return Unacceptable(
        f"{str(address)[:200]!r} is no address of an artifact.",
        "Write a path, or an address like s3://bucket/folder, without '..', escapes or '::'.",
    )
