"""Policies and snapshots as bytes: canonical JSON, named by the digest of those bytes.

Two equal values have equal bytes, so a digest names a value and an immutable blob never needs a version of its own.
What a reader does not understand it refuses as a whole: half a policy is not a policy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from router.epoch import Entry, Snapshot
from router.errors import PolicyError
from router.policy import Arm, Policy, Role, Shadow

READER = 1
"""The newest form that this code reads and the one that it writes."""


def digest_of(blob: bytes) -> str:
    """SHA-256 of the bytes, in hexadecimal: the name of an immutable blob."""
    return sha256(blob).hexdigest()


def encode_policy(policy: Policy) -> bytes:
    """The policy's canonical bytes."""
    return _canonical({"reader": READER, **policy_as_dict(policy)})


def decode_policy(blob: bytes) -> Policy:
    """The policy in these bytes.

    Raises:
        PolicyError: not a policy, or written for a newer reader.
    """
    return policy_from_dict(_readable(blob, "policy"))


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The snapshot's canonical bytes."""
    models = {name: [entry.digest, entry.revision] for name, entry in snapshot.models.items()}
    return _canonical({"reader": READER, "epoch": snapshot.epoch, "parent": snapshot.parent, "models": models})


def decode_snapshot(blob: bytes) -> Snapshot:
    """The snapshot in these bytes.

    Raises:
        PolicyError: not a snapshot, or written for a newer reader.
    """
    fields = _readable(blob, "snapshot")
    _refuse_unknown("snapshot", fields, {"epoch", "parent", "models"})
    try:
        models = {name: Entry(digest, revision) for name, (digest, revision) in fields["models"].items()}
        return Snapshot(fields["epoch"], fields["parent"], models)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PolicyError(f"this is no snapshot: {error}") from error


def policy_as_dict(policy: Policy) -> dict[str, Any]:
    """The policy as plain values, as the API shows it."""
    arms = [
        {"version": a.version, "share_ppm": a.share_ppm, "offset_ppm": a.offset_ppm, "role": a.role.value}
        for a in policy.arms
    ]
    said = {
        "stable": policy.stable,
        "arms": arms,
        "salt": policy.salt,
        "unit_header": policy.unit_header,
        "allow_override": policy.allow_override,
        "repeatable": policy.repeatable,
    }
    if policy.shadows:  # a policy without any has the bytes that it had before there were shadows
        said["shadows"] = [{"version": s.version, "sample_ppm": s.sample_ppm, "salt": s.salt} for s in policy.shadows]
    return said


def policy_from_dict(fields: Mapping[str, Any]) -> Policy:
    """The policy in plain values; unknown keys are refused, for a policy half understood is none."""
    known = {"stable", "arms", "shadows", "salt", "unit_header", "allow_override", "repeatable"}
    _refuse_unknown("policy", fields, known)
    try:
        for arm in fields["arms"]:
            _refuse_unknown("arm", arm, {"version", "share_ppm", "offset_ppm", "role"})
        arms = tuple(Arm(a["version"], a["share_ppm"], a["offset_ppm"], Role(a["role"])) for a in fields["arms"])
        given = fields.get("shadows", ())
        for shadow in given:
            _refuse_unknown("shadow", shadow, {"version", "sample_ppm", "salt"})
        shadows = tuple(Shadow(s["version"], s["sample_ppm"], s["salt"]) for s in given)
        rest = {key: fields[key] for key in known - {"arms", "shadows"}}
        return Policy(arms=arms, shadows=shadows, **rest)
    except PolicyError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PolicyError(f"this is no policy: {error!r}") from error


def _refuse_unknown(what: str, fields: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(fields) - known):
        names = ", ".join(map(repr, unknown))
        raise PolicyError(f"this {what} says {names}, which is not understood: it may say {', '.join(sorted(known))}")


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _readable(blob: bytes, what: str) -> dict[str, Any]:
    try:
        fields = json.loads(blob)
        reader = fields.pop("reader")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PolicyError(f"these bytes are no {what}: {error!r}") from error
    if type(reader) is not int or not 1 <= reader <= READER:
        raise PolicyError(f"this {what} is written for readers of form {reader!r}; this one reads up to {READER}")
    return dict(fields)
