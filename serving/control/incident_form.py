"""Episodes of models' drift, and operators' words about it, as the stores keep them: JSON. Pure."""

from __future__ import annotations

import json

from drift import incidents
from drift.errors import DriftError
from drift.incidents import Incident, Word


def encode_incident(incident: Incident) -> str:
    """The episode as the store has it."""
    return json.dumps(incident.plain(), sort_keys=True, allow_nan=False)


def incident_from(said: bytes | str | None) -> Incident | None:
    """What `encode_incident` wrote; None where it is none."""
    try:
        return incidents.read(json.loads(said or "null"))
    except (DriftError, ValueError, TypeError):
        return None


def encode_word(word: Word) -> str:
    """An operator's word as the store has it."""
    return json.dumps(word._asdict())


def word_from(said: bytes | str) -> Word | None:
    """What `encode_word` wrote; None where it is none."""
    try:
        plain = json.loads(said)
        return Word(str(plain["who"]), str(plain["why"]), float(plain["at_s"]), float(plain["until_s"]))
    except (ValueError, KeyError, TypeError):
        return None
