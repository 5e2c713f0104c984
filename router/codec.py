"""Policies and snapshots as bytes: canonical JSON, named by the digest of those bytes.

Two equal values have equal bytes, so a digest names a value and an immutable blob never needs a version of its own.
What a reader does not understand it refuses as a whole: half a policy is not a policy.

What was added to policies is written only where it is used, and names the form of reader that it needs: a policy
that uses none of it keeps its bytes, its digest and the readers it had.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from router.agreement import comparison_as_dict, comparison_from
from router.epoch import Entry, Snapshot
from router.errors import PolicyError
from router.match import How, Match, Place
from router.observed import Observed, Reading
from router.policy import Arm, OverCapacity, Policy, Role, Rule, Shadow
from router.unit import FieldSource, JsonSource, UnitSource

READER = 4
"""The newest form that this code reads.

2 added rules, unit sources, conditions and budgets of shadows, and to snapshots the policies that are staged; 3 added
the output that is observed; 4 how the answers to copies are compared.
"""

_RULED = 2
_OBSERVING = 3


def digest_of(blob: bytes) -> str:
    """SHA-256 of the bytes, in hexadecimal: the name of an immutable blob."""
    return sha256(blob).hexdigest()


def encode_policy(policy: Policy) -> bytes:
    """The policy's canonical bytes."""
    return _canonical({"reader": reader_of(policy), **policy_as_dict(policy)})


def reader_of(policy: Policy) -> int:
    """The oldest form of reader that understands this policy."""
    if policy.comparison is not None:
        return READER
    if policy.observes is not None:
        return _OBSERVING
    new = policy.rules or policy.unit_sources or any(map(_says_more, policy.shadows))
    return _RULED if new or policy.over_capacity is not OverCapacity.REFUSE else 1


def decode_policy(blob: bytes) -> Policy:
    """The policy in these bytes.

    Raises:
        PolicyError: not a policy, or written for a newer reader.
    """
    return policy_from_dict(_readable(blob, "policy"))


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The snapshot's canonical bytes."""
    models = {name: [entry.digest, entry.revision] for name, entry in snapshot.models.items()}
    said: dict[str, Any] = {"epoch": snapshot.epoch, "parent": snapshot.parent, "models": models}
    if snapshot.staged:
        said["staged"] = dict(snapshot.staged)
    return _canonical({"reader": snapshot_reader_of(snapshot), **said})


def snapshot_reader_of(snapshot: Snapshot) -> int:
    """The oldest form of reader that understands this snapshot, whatever its policies ask for."""
    return _RULED if snapshot.staged else 1


def decode_snapshot(blob: bytes) -> Snapshot:
    """The snapshot in these bytes.

    Raises:
        PolicyError: not a snapshot, or written for a newer reader.
    """
    fields = _readable(blob, "snapshot")
    _refuse_unknown("snapshot", fields, {"epoch", "parent", "models", "staged"})
    try:
        models = {name: Entry(digest, revision) for name, (digest, revision) in fields["models"].items()}
        return Snapshot(fields["epoch"], fields["parent"], models, dict(fields.get("staged", {})))
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
        said["shadows"] = [shadow_as_dict(shadow) for shadow in policy.shadows]
    if policy.over_capacity is not OverCapacity.REFUSE:  # likewise
        said["over_capacity"] = policy.over_capacity.value
    if policy.rules:
        said["rules"] = [rule_as_dict(rule) for rule in policy.rules]
    if policy.unit_sources:
        said["unit_sources"] = [_source_as_dict(source) for source in policy.unit_sources]
    if policy.observes is not None:
        said["observes"] = {"output": policy.observes.output, "kind": policy.observes.kind.value}
    if policy.comparison is not None:
        said["comparison"] = comparison_as_dict(policy.comparison)
    return said


def policy_from_dict(fields: Mapping[str, Any]) -> Policy:
    """The policy in plain values; unknown keys are refused, for a policy half understood is none."""
    known = {"stable", "arms", "shadows", "salt", "unit_header", "allow_override", "repeatable", "over_capacity"}
    late = {"rules", "unit_sources", "observes", "comparison"}
    _refuse_unknown("policy", fields, known | late)
    try:
        for arm in fields["arms"]:
            _refuse_unknown("arm", arm, {"version", "share_ppm", "offset_ppm", "role"})
        arms = tuple(Arm(a["version"], a["share_ppm"], a["offset_ppm"], Role(a["role"])) for a in fields["arms"])
        shadows = tuple(map(shadow_from_dict, fields.get("shadows", ())))
        rules = tuple(map(rule_from_dict, fields.get("rules", ())))
        sources = tuple(map(_source_from_dict, fields.get("unit_sources", ())))
        over = OverCapacity(fields.get("over_capacity", OverCapacity.REFUSE))
        seen = _observed_from_dict(fields["observes"]) if "observes" in fields else None
        compared = comparison_from(fields["comparison"]) if "comparison" in fields else None
        rest = {key: fields[key] for key in known - {"arms", "shadows", "over_capacity"}}
        return Policy(
            arms=arms, shadows=shadows, over_capacity=over, rules=rules, unit_sources=sources, observes=seen,
            comparison=compared, **rest,
        )  # fmt: skip
    except PolicyError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PolicyError(f"this is no policy: {error!r}") from error


def shadow_as_dict(shadow: Shadow) -> dict[str, Any]:
    """The shadow as plain values; conditions and budgets only where it has any."""
    said: dict[str, Any] = {"version": shadow.version, "sample_ppm": shadow.sample_ppm, "salt": shadow.salt}
    if shadow.when:
        said["when"] = [_match_as_dict(match) for match in shadow.when]
    budgets = {"max_per_s": shadow.max_per_s, "max_in_flight": shadow.max_in_flight}
    budgets["noise_ppm"] = shadow.noise_ppm or None
    return said | {name: budget for name, budget in budgets.items() if budget is not None}


def shadow_from_dict(fields: Mapping[str, Any]) -> Shadow:
    """The shadow in plain values; raises what its values raise."""
    _refuse_unknown(
        "shadow", fields, {"version", "sample_ppm", "salt", "when", "max_per_s", "max_in_flight", "noise_ppm"}
    )
    when = tuple(map(_match_from_dict, fields.get("when", ())))
    budgets = (fields.get("max_per_s"), fields.get("max_in_flight"))
    noise = fields.get("noise_ppm", 0)
    return Shadow(fields["version"], fields["sample_ppm"], fields["salt"], when, *budgets, noise_ppm=noise)


def rule_as_dict(rule: Rule) -> dict[str, Any]:
    """The rule as plain values."""
    return {"version": rule.version, "when": [_match_as_dict(match) for match in rule.when]}


def rule_from_dict(fields: Mapping[str, Any]) -> Rule:
    """The rule in plain values; raises what its values raise."""
    _refuse_unknown("rule", fields, {"version", "when"})
    return Rule(fields["version"], tuple(map(_match_from_dict, fields["when"])))


def _says_more(shadow: Shadow) -> bool:
    return bool(shadow.when) or shadow.max_per_s is not None or shadow.max_in_flight is not None


def _match_as_dict(match: Match) -> dict[str, Any]:
    return {"place": match.place.value, "name": match.name, "how": match.how.value, "values": list(match.values)}


def _match_from_dict(fields: Mapping[str, Any]) -> Match:
    _refuse_unknown("condition", fields, {"place", "name", "how", "values"})
    if not isinstance(fields["values"], list):  # a text would pass for a list of letters
        raise PolicyError("the values of a condition are a list")
    return Match(fields["name"], tuple(fields["values"]), How(fields["how"]), Place(fields["place"]))


def _source_as_dict(source: UnitSource) -> dict[str, Any]:
    if isinstance(source, FieldSource):
        return {"place": source.place.value, "name": source.name}
    return {"json": source.path, "max_bytes": source.max_bytes}


def _source_from_dict(fields: Mapping[str, Any]) -> UnitSource:
    if "json" in fields:
        _refuse_unknown("unit source", fields, {"json", "max_bytes"})
        return JsonSource(fields["json"], fields["max_bytes"])
    _refuse_unknown("unit source", fields, {"place", "name"})
    return FieldSource(fields["name"], Place(fields["place"]))


def _observed_from_dict(fields: Mapping[str, Any]) -> Observed:
    _refuse_unknown("observed output", fields, {"output", "kind"})
    return Observed(fields["output"], Reading(fields["kind"]))


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
