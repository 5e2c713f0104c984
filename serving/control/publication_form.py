"""What `publish.lua` is given: one publication, or what is written without one, as keys and JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from router.epoch import Head
from serving.control.publication import (
    Answer,
    Beside,
    IncidentWrite,
    LedgerEntry,
    Publication,
    RecordWrite,
    Refused,
)
from serving.store_keys import Keys

KEPT_EPOCHS: Final = 100_000
"""How many epochs the lineage goes back."""
MOST_ROLLOUTS: Final = 1_000
"""How many rollouts are kept, those in progress always among them."""
MOST_JOBS: Final = 10_000
"""How many deliveries to hooks may wait; what comes beyond that is counted and dropped."""
MOST_ENTRIES_OF_ONE: Final = 10_000
"""How many of the ledger's entries about one rollout are found by its name; older ones go by the ledger alone."""

MOST_INCIDENTS: Final = 1_000
"""How many episodes of drift are kept, those that are open always among them."""

_REPLACED_KEPT_MS: Final = 24 * 60 * 60 * 1000


def script_keys(keys: Keys, publication: Publication | None, nonce: str) -> list[str]:
    """The keys that the script touches by name."""
    digest = publication.head.digest if publication else ""
    replaced = publication.expected if publication else ""
    return [
        *(keys.head, keys.lineage, keys.ledger, keys.gateways, keys.publication(nonce)),
        *(keys.snapshot(digest), keys.snapshot(replaced), keys.fence, keys.stopped, keys.active_rollouts),
        *(keys.rollouts, keys.barred_versions, keys.due_jobs, keys.jobs, keys.heard_finding),
        *(keys.incidents, keys.open_incidents, keys.silences),
    ]


def script_argument(keys: Keys, publication: Publication | None, beside: Beside, answer_kept_ms: int) -> str:
    """What the script writes, and what must hold for it."""
    entries = [*([publication.entry] if publication else []), *beside.entries]
    said = {
        "moves": _moves(keys, publication) if publication else False,
        "seen": "*" if beside.seen is None else beside.seen,
        "fence": "" if beside.fence is None else str(beside.fence),
        "unstopped": beside.unstopped,
        "free": beside.free,
        "records": [_record(keys, record) for record in beside.records],
        "stops": dict(beside.stops),
        "unstops": beside.unstops,
        "dropped": dict(beside.dropped),
        "stopped_before": dict(beside.stopped_before),
        "barred_before": {f"{model}/{version}": by for (model, version), by in beside.barred_before.items()},
        "heard": False if beside.heard is None else beside.heard._asdict(),
        "incidents": [_incident(keys, one) for one in beside.incidents],
        "silences": dict(beside.silences),
        "entries": [encode_entry(entry) for entry in entries],
        "about": [rollout_of(entry) for entry in entries],
        "jobs": [{"entry": job.entry + 1, "rollout": job.rollout, "hook": str(job.hook)} for job in beside.jobs],
        "gateway_prefix": keys.gateway(""),
        "record_prefix": keys.rollout(""),
        "counts_prefix": keys.rollout_counts(""),
        "entries_prefix": keys.rollout_entries(""),
        "case_prefix": keys.rollout_case(""),
        "blocks_prefix": keys.rollout_blocks(""),
        "of_model_prefix": keys.rollouts_of(""),
        "incident_prefix": keys.incident(""),
        "channel": keys.epochs,
        "most_rollouts": MOST_ROLLOUTS,
        "most_jobs": MOST_JOBS,
        "most_entries": MOST_ENTRIES_OF_ONE,
        "most_incidents": MOST_INCIDENTS,
        "answer_kept_ms": answer_kept_ms,
    }
    return json.dumps(said)


def answer_from(said: bytes, *, durable: bool) -> Answer:
    """What became of it."""
    plain = json.loads(said)
    head = Head(int(plain["epoch"]), plain["digest"], plain["parent"])
    if not plain["done"]:
        return Answer(done=False, head=head, refused=Refused(plain["refused"]), by=plain["by"])
    # Lua has one kind of table, so an empty list arrives as an object.
    return Answer(done=True, head=head, members=frozenset(plain["members"] or ()), durable=durable)


def encode_entry(entry: LedgerEntry) -> str:
    """The entry as the ledger's stream holds it."""
    plain = {"kind": entry.kind, "who": entry.who, "why": entry.why, "facts": dict(entry.facts)}
    return json.dumps(plain, sort_keys=True)


def rollout_of(entry: LedgerEntry) -> str:
    """The id of the rollout that the entry is about, empty where it is about none."""
    about = entry.facts.get("rollout")
    said = about.get("id") if isinstance(about, Mapping) else None
    return said if isinstance(said, str) else ""


def decode_entry(said: bytes | str) -> LedgerEntry:
    """What `encode_entry` wrote."""
    plain = json.loads(said)
    return LedgerEntry(plain["kind"], plain["who"], plain["why"], plain["facts"])


def _moves(keys: Keys, publication: Publication) -> dict[str, Any]:
    head = publication.head
    lineage = {str(epoch): digests for epoch, digests in publication.lineage.items()}
    return {
        "expected": publication.expected,
        "epoch": str(head.epoch),
        "digest": head.digest,
        "snapshot": publication.snapshot.decode(),
        "policies": {keys.policy(digest): blob.decode() for digest, blob in publication.policies.items()},
        "retired": [keys.policy(digest) for digest in publication.retired],
        "lineage": lineage | {str(head.epoch): head.digest},
        "forgotten": str(head.epoch - KEPT_EPOCHS),
        "reader": 1 if publication.insists else publication.reader,
        "replaced_kept_ms": _REPLACED_KEPT_MS,
    }


def _incident(keys: Keys, write: IncidentWrite) -> dict[str, Any]:
    return {
        "key": keys.incident(write.id),
        "id": write.id,
        "model": write.model,
        "expected": str(write.expected),
        "revision": str(write.revision),
        "record": write.record,
        "over": write.over,
        "replaces": write.replaces,
    }


def _record(keys: Keys, record: RecordWrite) -> dict[str, Any]:
    return {
        "key": keys.rollout(record.id),
        "id": record.id,
        "model": record.model,
        "expected": str(record.expected),
        "revision": str(record.revision),
        "record": record.record or "",
        "writes": record.record is not None,
        "over": record.over,
        "bars": [str(version) for version in record.bars],
        "clears": [str(version) for version in record.clears],
        "unbarred": [str(version) for version in record.unbarred],
    }
