"""The live view where there is no terminal: a line for each change, decided purely."""

from __future__ import annotations

from collections.abc import Iterator

from router.policy import format_share
from serving.rollout_standing import Standing
from serving.rollout_verdicts import budget_words, verdict_words
from serving.watching.frame import event_words
from serving.watching.seen import Answer, Seen


def lines(before: Seen, after: Seen) -> Iterator[str]:
    """What is new: where it stands, what keeps it, events, and whether anybody answers."""
    if after.silence and after.silence != before.silence:
        yield f"no answer: {after.silence}"
    if before.silence and not after.silence:
        yield "it answers again"
    if after.last is None or after.last is before.last:
        return
    if before.last is None:
        yield f"{after.last.standing.model}: {after.last.standing.kind.replace('_', '-')} {after.last.standing.id}"
    yield from _events(before.last, after.last)
    if before.last is None or _where(before.last.standing) != _where(after.last.standing):
        yield place_words(after.last.standing)
    yield from _waits(before.last, after.last)
    yield from _verdicts(before.last, after.last)


def place_words(standing: Standing) -> str:
    """'running, stage 2 of 6 '5 %': 1: 95 %, 2: 5 %'."""
    shares = ", ".join(f"{version}: {format_share(share)}" for version, share in sorted(standing.shares.items()))
    cause = f" ({standing.cause})" if standing.cause else ""
    return f"{standing.phase}, {standing.place}{cause}: {shares}"


def _where(standing: Standing) -> tuple[object, ...]:
    return (standing.phase, standing.stage, dict(standing.shares), standing.cause)


def _events(before: Answer | None, after: Answer) -> Iterator[str]:
    known = {event.id for event in before.events} if before else set()
    yield from (event_words(event) for event in after.events if event.id not in known)


def _waits(before: Answer | None, after: Answer) -> Iterator[str]:
    """Each once, by its beginning: the numbers in a sentence change every second."""
    said = {_kind(wait) for wait in before.standing.waits} if before else set()
    yield from (f"waits: {wait}" for wait in after.standing.waits if _kind(wait) not in said)


def _verdicts(before: Answer | None, after: Answer) -> Iterator[str]:
    """Each version's, whenever it says something else; what is new in its numbers alone is left to the screen."""
    said = before.standing.verdicts if before else {}
    for version, verdict in after.standing.verdicts.items():
        if version not in said or _kind(said[version].words) != _kind(verdict.words):
            yield f"verdict: {verdict_words(version, verdict)} ({budget_words(verdict)})"


def _kind(wait: str) -> str:
    return "".join(one for one in wait if not one.isdigit())
