"""The three roles, and what is needed at a door. Each role includes those below it."""

from __future__ import annotations

from enum import Enum, IntEnum


class Role(Enum):
    """What somebody is let in for. The value is its name in settings, records and claims."""

    PREDICT = "predict"
    """Ask models, maybe only some of them, and say what came of their answers."""
    OPERATE = "operate"
    """Rollouts, traffic, drift: whatever moves traffic between versions that are there. Includes predict."""
    ADMINISTER = "administer"
    """The registry, keys and settings: whatever can run code here or let somebody in. Includes operate."""


class Needs(IntEnum):
    """What a door asks for; larger asks for more."""

    NOTHING = 0
    """Health: a probe carries no key."""
    PREDICT = 1
    OPERATE = 2
    ADMINISTER = 3


_GIVES = {Role.PREDICT: Needs.PREDICT, Role.OPERATE: Needs.OPERATE, Role.ADMINISTER: Needs.ADMINISTER}


def gives(role: Role) -> Needs:
    """The most that this role opens."""
    return _GIVES[role]
