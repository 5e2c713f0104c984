"""What the API says of rollouts, for a terminal. What others wrote is shown without what a terminal would obey."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from router.policy import WHOLE, format_share
from router.stage import Needs
from serving.amounts import time_of
from serving.control.client import Acknowledged
from serving.control.rollouts_client import (
    EntryRow,
    RolloutChangeAnswer,
    RolloutRow,
    RolloutsAnswer,
    StageRow,
    WhyAnswer,
)
from serving.rollout_standing import Standing, lately_words, printable
from serving.rollout_terms import terms_lines
from serving.rollout_verdicts import COLUMNS, budget_words, copies_words, verdict_rows, verdict_words
from serving.tables import console, moment, table


def show_rollout(standing: Standing) -> None:
    """Where one stands, and what keeps it there."""
    out = console()
    out.print(f"{standing.model}: {standing.kind.replace('_', '-')} {standing.id}, begun {_begun(standing)}")
    for line in _where(standing):
        out.print(line, soft_wrap=True)
    rows = (_version(standing, version) for version in _versions(standing))
    given = ("given",) if standing.cut else ()
    counted = ("requests of this stage", "requests/s", "errors", "p50", "p99")
    out.print(table("now", ("version", "role", "share", *given, *counted), rows))
    for version, verdict in standing.verdicts.items():
        out.print(table(f"verdict on version {version}", COLUMNS, verdict_rows(verdict)))
        out.print(verdict_words(version, verdict), soft_wrap=True)
        out.print(budget_words(verdict), soft_wrap=True)
        if verdict.copies is not None:
            out.print(f"copies: {copies_words(verdict.copies)}", soft_wrap=True)
    marks = (_planned(standing, nth) for nth in range(len(standing.stages)))
    out.print(table("stages", ("", "stage", "does", "at least", "approval"), marks))


def show_terms(standing: Standing) -> None:
    """What a rollout that was just started is judged by."""
    needing = [stage.name for stage in standing.stages if stage.needs == Needs.VERDICT]
    for line in terms_lines(standing.terms, needing):
        console().print(line, soft_wrap=True)


def show_rollouts(answer: RolloutsAnswer) -> None:
    """Several at a glance."""
    names = ("id", "model", "kind", "where", "shares", "began", "by")
    console().print(table("rollouts", names, map(_rollout, answer["rollouts"])))


def show_rollout_change(answer: RolloutChangeAnswer, standing: Standing) -> None:
    """What a change made of one, and who runs it: 'N of N', and by name those who do not."""
    out = console()
    out.print(f"{standing.model}: {standing.kind.replace('_', '-')} {standing.id}")
    for line in _where(standing):
        out.print(line, soft_wrap=True)
    out.print(f"shares: {_shares(standing.shares)}", soft_wrap=True)
    if answer["acknowledged"] is not None:
        out.print(acknowledged_words(answer["acknowledged"], answer["epoch"], answer["took_ms"]), soft_wrap=True)
    for note in answer["notes"]:
        out.print(printable(note), soft_wrap=True)


def show_stages(model: str, stages: Sequence[StageRow], notes: Sequence[str]) -> None:
    """Every stage with its policy, nothing left out of what decides about a request."""
    out = console()
    names = ("", "stage", "does", "at least", "approval", "shares", "beside that")
    rows = (_stage(nth, stage) for nth, stage in enumerate(stages, start=1))
    out.print(table(model, names, rows))
    for note in notes:
        out.print(printable(note), soft_wrap=True)


def show_story(answer: WhyAnswer) -> None:
    """What happened, a line for each; in the API's words where it tells it."""
    out = console()
    for line in answer["story"] or map(_entry, answer["entries"]):
        out.print(printable(line), soft_wrap=True)


def acknowledged_words(seen: Acknowledged, epoch: int | None, took_ms: float) -> str:
    """'3 of 3 gateway workers run epoch 9 (12 ms)', and by name those who do not."""
    line = f"{seen['by']} of {seen['of']} gateway workers run epoch {epoch} ({took_ms:.0f} ms)"
    for what, who in (("lease expired", seen["expired"]), ("still waiting for", seen["waiting"])):
        line += f", {what}: {', '.join(who)}" if who else ""
    return line


def _where(standing: Standing) -> Iterator[str]:
    by_hand = ", shares set by hand" if standing.by_hand else ""
    cause = f" ({standing.cause})" if standing.cause else ""
    yield f"{standing.phase}{cause}, {standing.place}{by_hand}, automation {standing.automation}"
    if standing.over:
        return
    when = f", in {time_of(standing.next_s)} at the earliest" if standing.next_s and not standing.stands else ""
    yield f"next: {standing.ahead or 'nothing'}{when}"
    if standing.advised:
        yield f"recommended: {standing.advised}"
    yield from (f"waits: {wait}" for wait in standing.waits)
    if standing.asks:
        yield f"approve it with: sluice rollout approve {standing.model}"


def _versions(standing: Standing) -> Sequence[int]:
    known = {*standing.shares, *standing.requests, *standing.lately}
    return sorted(known, key=lambda one: (one != standing.stable, one))


def _version(standing: Standing, version: int) -> tuple[str, ...]:
    requests = f"{standing.requests[version]:,}" if version in standing.requests else ""
    given = standing.shares.get(version, 0)
    shares = (format_share(standing.desired.get(version, given)), *([format_share(given)] if standing.cut else []))
    return (str(version), standing.role_of(version), *shares, requests, *lately_words(standing.lately.get(version)))


def _planned(standing: Standing, nth: int) -> tuple[str, ...]:
    stage = standing.stages[nth]
    conditions = _conditions(stage.does, stage.min_s, stage.min_requests, stage.needs, approval=stage.approval)
    return (_mark(standing, nth), stage.name, *conditions)


def _mark(standing: Standing, nth: int) -> str:
    passed = "passed" if nth < standing.stage or standing.phase == "promoted" else ""
    return "now" if nth == standing.stage and not standing.over else passed


def _conditions(does: str, min_s: int, min_requests: int, needs: str, *, approval: bool) -> tuple[str, str, str]:
    least = [time_of(min_s)] if min_s else []
    least += [f"{min_requests:,} requests"] if min_requests else []
    least += ["a verdict"] if needs == Needs.VERDICT else []
    sooner = " or a verdict" if needs == Needs.EITHER else ""
    return (does, " and ".join(least) + sooner, "needed" if approval else "")


def _rollout(one: RolloutRow) -> tuple[str, ...]:
    shares = {int(version): share for version, share in one["shares"].items()}
    who = printable(one["created_by"])
    kind = one["kind"].replace("_", "-")
    return (one["id"], one["model"], kind, printable(one["place"]), _shares(shares), moment(one["created_at"]), who)


def _stage(nth: int, stage: StageRow) -> tuple[str, ...]:
    least = (stage["min_s"], stage["min_requests"], stage["needs"])
    conditions = _conditions(stage["does"], *least, approval=stage["approval"])
    beside = "; ".join([*(["flipped everywhere at once"] if stage["flip"] else []), *_beside(stage["policy"])])
    shares = _shares(_shares_in(stage["policy"]))
    return (str(nth), printable(stage["name"]), *conditions, shares, beside)


def _shares_in(policy: Mapping[str, Any]) -> dict[int, int]:
    arms = {int(arm["version"]): int(arm["share_ppm"]) for arm in policy["arms"]}
    return {int(policy["stable"]): WHOLE - sum(arms.values()), **arms}


def _beside(policy: Mapping[str, Any]) -> Iterator[str]:
    """Rules and shadows in words."""
    for rule in policy.get("rules", ()):
        yield f"version {rule['version']} where {_when(rule['when'])}"
    for shadow in policy.get("shadows", ()):
        where = f" where {_when(shadow['when'])}" if shadow.get("when") else ""
        budget = f", at most {shadow['max_per_s']}/s" if shadow.get("max_per_s") else ""
        yield f"version {shadow['version']} gets copies of {format_share(shadow['sample_ppm'])}{where}{budget}"


def _when(conditions: Iterable[Mapping[str, Any]]) -> str:
    words = {"equals": "is", "prefix": "begins with", "regex": "matches", "in": "is one of"}
    return " and ".join(
        f"{printable(one['name'])} {words.get(one['how'], one['how'])} {', '.join(map(printable, one['values']))}"
        for one in conditions
    )


def _shares(shares: Mapping[int, int]) -> str:
    return ", ".join(f"{version}: {format_share(share)}" for version, share in shares.items())


def _entry(entry: EntryRow) -> str:
    why = f": {entry['why']}" if entry["why"] else ""
    return f"{moment(entry['at'])} {entry['who']}, {entry['kind']}{why}"


def _begun(standing: Standing) -> str:
    return f"{moment(standing.began)} by {standing.who}"
