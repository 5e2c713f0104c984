"""Callers with keys: what tests of who is let in share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from serving.access import keys
from serving.access.keys import KeyRecord, Shown
from serving.access.principal import UNLIMITED, Limits
from serving.access.roles import Role
from serving.access.verifier import Verifier
from serving.gateway.admission import Admission
from serving.gateway.worker import Worker
from tests.serving.access.issuer import RULES


@dataclass
class Trail:
    """A security log that keeps what it is told."""

    refusals: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Door, kind, operation, key id."""

    def refused(  # noqa: PLR0917
        self, door: str, address: str, kind: str, operation: str, key_id: str = "", now_s: float | None = None
    ) -> None:
        """Part of `Trail`."""
        assert address.startswith("127.0.0.1:")
        assert now_s is not None
        self.refusals.append((door, kind, operation, key_id))


@dataclass
class Holder:
    """A key and its record."""

    shown: Shown
    record: KeyRecord

    @property
    def header(self) -> str:
        """The header that shows it."""
        return f"Authorization: Bearer {self.shown.text}"


def caller(
    role: Role = Role.PREDICT,
    models: frozenset[str] | None = None,
    limits: Limits = UNLIMITED,
    *,
    expires_s: float | None = None,
) -> Holder:
    """Somebody with a key of their own."""
    shown = keys.create()
    return Holder(shown, KeyRecord(shown.id, "somebody", shown.digest, role, models, limits, expires_s=expires_s))


def lets_in(
    worker: Worker, *callers: Holder, required: bool = True, jwks: str | None = None,
) -> Trail:  # fmt: skip
    """From here on the worker lets in these, and nobody else; what it says of who it refuses."""
    trail = Trail()
    worker.admission = Admission(trail, required=required)
    lets_in_now(worker, *callers, jwks=jwks)
    return trail


def lets_in_now(worker: Worker, *callers: Holder, jwks: str | None = None) -> None:
    """The keys have changed: these are the ones now."""
    records = [one.record for one in callers]
    worker.let_in(Verifier(records, jwks, RULES), frozenset(one.id for one in records))


NOBODY: Mapping[str, str] = MappingProxyType(
    {
        "nothing": "X-Nothing: x",
        "a wrong key": f"Authorization: Bearer {keys.create().text}",
        "no key": "Authorization: Bearer x",
        "another scheme": "Authorization: Basic eDp5",
        "an empty header": "Authorization:",
        "a proxy's key": f"Proxy-Authorization: Bearer {keys.create().text}",
        "a cookie": f"Cookie: key={keys.create().text}",
    }
)
"""Headers that open nothing, by what they are."""
