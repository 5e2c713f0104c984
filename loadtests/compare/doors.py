"""Gateways that differ in one thing, for `bench.py` to compare: who is let in, and whether a store is told.

The plain one lets everybody in and tells nobody what it counts; each of the others asks for a key or a token, or tells
its totals to a store.

The keys, the record that is kept of each and the rules for tokens are the product's own; the token is signed by the
issuer of the proof of access.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.access.issuer import ALGORITHM, AUDIENCE, NAME, SigningKey
from loadtests.compare.targets import Fact
from serving.access.config import TokenRules
from serving.access.keys import KeyRecord, create
from serving.access.principal import UNLIMITED, Limits
from serving.access.roles import Role

ALL_LIMITS = Limits(rate_per_s=1e6, burst=1_000_000, in_flight=10_000, max_body=1_000_000)
"""Each of them, and none is reached."""

_RULES = TokenRules(NAME, AUDIENCE, algorithms=(ALGORITHM,))


@dataclass(frozen=True, slots=True, eq=False)
class Door:
    """One way to be run.

    Attributes:
        name: for people.
        options: of the gateway's command line.
        headers: what a request must show.
        facts: what it adds to the cost of the open door: where each request is like the one before, and where each
            names another unit. Empty for the open door itself.
    """

    name: str
    options: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    facts: tuple[Fact, ...] = ()


OPEN = Door("open")


def doors(folder: Path) -> tuple[Door, ...]:
    """All but the open one; what they know of keys is written to files in this folder."""
    by_unit = (Fact.KEYS_BY_UNIT, Fact.TOKENS_BY_UNIT, Fact.LIMITED_KEYS_BY_UNIT)
    return (
        _by_key("key", folder, UNLIMITED, (Fact.KEYS, by_unit[0])),
        _by_token(folder, (Fact.TOKENS, by_unit[1])),
        _by_key("key with limits", folder, ALL_LIMITS, (Fact.LIMITED_KEYS, by_unit[2])),
    )


def telling(address: Path) -> tuple[Door, ...]:
    """The one that tells a store what it counts.

    Args:
        address: a file with the store's URL.
    """
    return (Door("teller", (f"--totals={address}",), facts=(Fact.TOTALS, Fact.TOTALS_BY_UNIT)),)


def _by_key(name: str, folder: Path, limits: Limits, facts: tuple[Fact, Fact]) -> Door:
    shown = create()
    record = KeyRecord(shown.id, "bench", shown.digest, Role.PREDICT, limits=limits)
    keys = _known(folder / f"{name.replace(' ', '-')}.json", [record], None)
    return Door(name, (f"--keys={keys}", *_trail(folder)), _bearer(shown.text), facts)


def _by_token(folder: Path, facts: tuple[Fact, Fact]) -> Door:
    signing = SigningKey("the-only-one")
    jwks = json.dumps({"keys": [signing.published]})
    keys, rules = _known(folder / "token.json", [], jwks), folder / "token-rules.json"
    rules.write_text(json.dumps(_RULES.as_dict()))
    return Door(
        "token", (f"--keys={keys}", f"--token-rules={rules}", *_trail(folder)), _bearer(signing.token("bench")), facts
    )


def _known(file: Path, records: list[KeyRecord], jwks: str | None) -> Path:
    """The file that a gateway which stands alone reads."""
    file.write_text(json.dumps({"revision": 1, "keys": [record.encode() for record in records], "jwks": jwks}))
    return file


def _trail(folder: Path) -> tuple[str]:
    return (f"--security-log={folder / 'security.log'}",)


def _bearer(text: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {text}"}
