"""Who is let in, and how that changes, as values: what is there, what is to be written, what came of it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from serving.access.keys import KeyRecord
from serving.control.publishing import LedgerEntry


@dataclass(frozen=True, slots=True)
class AccessState:
    """All records of keys at one moment, by id, and the revision that they are at; 0 before the first change."""

    revision: int = 0
    records: Mapping[str, KeyRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "records", MappingProxyType(dict(self.records)))


@dataclass(frozen=True, slots=True)
class AccessChange:
    """What is to be written in one stroke.

    Attributes:
        expected: the revision that it was decided at; at another one nothing is written.
        entry: what the ledger says of it; it holds no secret.
        put: records that are new, or that replace the one of the same id.
        dropped: ids of records that are forgotten.
        nonce: names this attempt, so that repeating it is not a second change.
    """

    expected: int
    entry: LedgerEntry
    put: tuple[KeyRecord, ...] = ()
    dropped: tuple[str, ...] = ()
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(12))


@dataclass(frozen=True, slots=True)
class AccessAnswer:
    """What became of it.

    Attributes:
        done: whether it was written.
        revision: the one that is there now.
        members: ids of the gateways whose lease was alive when it was written.
        durable: whether the write was confirmed to be on disk.
    """

    done: bool
    revision: int
    members: frozenset[str] = frozenset()
    durable: bool = False
