"""What happened to a rollout, told: one sentence for each entry of the ledger. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from router.policy import format_share
from serving.control.publication import Recorded

_SHARE = "share_ppm."


def story_of(entries: Sequence[Recorded]) -> list[str]:
    """A sentence for each, in their order."""
    return [sentence_of(one) for one in entries]


def sentence_of(recorded: Recorded) -> str:
    """One sentence, like '2026-11-02 10:00:00 UTC: ada: pause (running → paused), because of the rain; epoch 7.'."""
    entry = recorded.entry
    facts = entry.facts
    at = datetime.fromtimestamp(recorded.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    what = str(facts.get("what", entry.kind))
    before, after = facts.get("before"), facts.get("after")
    where = f" ({before} → {after})" if before and after and before != after else ""
    why = f", because {entry.why}" if entry.why else ""
    told = [f"{at}: {entry.who}: {what}{where}{why}", *_shares(facts.get("numbers"))]
    epoch = facts.get("epoch")
    told += [] if epoch is None else [f"epoch {epoch}"]
    return "; ".join(told) + "."


def _shares(numbers: object) -> list[str]:
    if not isinstance(numbers, dict):
        return []
    shares = {name.removeprefix(_SHARE): share for name, share in numbers.items() if name.startswith(_SHARE) and share}
    said = ", ".join(f"version {version} {format_share(int(share))}" for version, share in sorted(shares.items()))
    return [said] if said else []
