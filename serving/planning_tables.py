"""What a plan can show beforehand, and what simulated and replayed rollouts came to: for a terminal, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from router.policy import WHOLE, format_share
from router.verdicts.described import Described, Manner
from router.verdicts.forecast import Forecast, Rate, Spread
from router.verdicts.prospects import Kind, Passed, Prospect, Step, passed_s
from router.verdicts.replaying import Replay, Turn
from router.verdicts.simulating import Outcome
from serving.amounts import time_of
from serving.rollout_standing import printable
from serving.tables import console, table
from serving.traffic_typed import Known

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def show_prospects(steps: Sequence[Step], known: Known, notes: Sequence[str]) -> None:
    """Every step: what finds harm there and how soon, and what a good candidate waits for."""
    out = console()
    out.print(f"at {_number(known.rps)} requests/s, {_percent(known.errors)} errors", soft_wrap=True)
    names = ("step", "to show", "requests: half", "nine of ten", "time: half", "nine of ten")
    rows = [(step.name, *_prospect(one)) for step in steps for one in step.prospects]
    out.print(table("what it takes", names, rows))
    for line in _walk(steps, known):
        out.print(line, soft_wrap=True)
    for note in notes:
        out.print(printable(note), soft_wrap=True)


def prospects_plain(steps: Sequence[Step], known: Known, notes: Sequence[str]) -> dict[str, Any]:
    """The same for a machine; null for what never comes."""
    return {
        "requests_per_s": known.rps,
        "errors": known.errors,
        "steps": [_step_plain(step, passed) for step, passed in zip(steps, passed_s(steps), strict=True)],
        "notes": list(notes),
    }


def show_forecasts(described: Described, bad: Forecast, good: Forecast, notes: Sequence[str]) -> None:
    """A candidate as it was described, and one that is as good as stable."""
    out = console()
    for line in _about(described, bad, good):
        out.print(line, soft_wrap=True)
    names = ("step", "left by", "time: half", "nine of ten")
    rows = [
        (name, f"{left} of {good.rates[Outcome.BACK].total}", *_spread(good.stages_s.get(name)))
        for name, left in good.left.items()
    ]
    out.print(table("the steps, with a good candidate", names, rows))
    for note in notes:
        out.print(printable(note), soft_wrap=True)


def forecast_plain(one: Forecast) -> dict[str, Any]:
    """The same for a machine: rates with their 95 % bounds, times in seconds."""
    return {
        "outcomes": {str(outcome): _rate_plain(rate) for outcome, rate in one.rates.items()},
        "went_back": {
            "after_s": _spread_plain(one.back_s),
            "share": one.back_share,
            "requests": _spread_plain(one.requests),
            "failed": _spread_plain(one.failed),
        },
        "promoted_after_s": _spread_plain(one.promoted_s),
        "steps_s": {name: _spread_plain(spent) for name, spent in one.stages_s.items()},
        "steps_left": dict(one.left),
        "waits": one.words,
    }


def show_replay(replay: Replay) -> None:
    """Where the verdict on recorded blocks changed, and what it was at the end."""
    out = console()
    out.print(f"{replay.blocks:,} blocks, {length_of(replay.last.after_s)}", soft_wrap=True)
    turns = [*replay.turns, *([] if replay.turns[-1] == replay.last else [replay.last])]
    names = ("after", "requests", "verdict", "because")
    out.print(table("the verdict, where it changed", names, (_turn(one) for one in turns)))


def replay_plain(replay: Replay) -> dict[str, Any]:
    """The same for a machine."""
    back = replay.back
    return {
        "blocks": replay.blocks,
        "rolled_back_after_s": None if back is None else back.after_s,
        "turns": [_turn_plain(one) for one in replay.turns],
        "last": _turn_plain(replay.last),
    }


def length_of(seconds: float) -> str:
    """'9h20m' from 33,580: two units at most; 'never' from infinity."""
    if math.isinf(seconds):
        return "never"
    unit = _HOUR if seconds >= _DAY else _MINUTE if seconds >= _HOUR else 1
    return time_of(-(-seconds // unit) * unit)


def _walk(steps: Sequence[Step], known: Known) -> Iterator[str]:
    """In sentences, what a good candidate waits for."""
    passed = passed_s(steps)
    for step, took in zip(steps, passed, strict=True):
        way = step.certified
        if not step.prospects:
            yield f"step '{step.name}': stable has nothing beside it, so there is nothing to compare with"
        elif step.verdict and way is None:
            yield f"step '{step.name}' needs a verdict, and no guardrail asks for a certificate: it is never passed"
        elif step.verdict and way is not None and math.isinf(took.most_s):
            yield f"step '{step.name}' needs a verdict, and a candidate like stable cannot be certified: {_why(way)}"
        elif step.verdict and took.most_s > step.least_s:
            yield (
                f"at {_number(known.rps)} requests/s step '{step.name}' takes {length_of(took.median_s)} in half of "
                f"all rollouts, {length_of(took.most_s)} in nine of ten, until a good candidate is certified"
            )
    whole = Passed(*(sum(one[part] for one in passed) for part in (0, 1)))
    yield (
        f"a good candidate is through all steps after {length_of(whole.median_s)} in half of all rollouts, "
        f"{length_of(whole.most_s)} in nine of ten"
    )


def _why(way: Prospect) -> str:
    return f"'{way.guardrail}' is not {way.what} at these rates of errors"


def _prospect(one: Prospect) -> tuple[str, ...]:
    verb = "find" if one.kind is Kind.FIND else "certify"
    requests = (_count(one.needed.median), _count(one.needed.most))
    return (f"{verb} {one.guardrail} {one.what}", *requests, length_of(one.median_s), length_of(one.most_s))


def _step_plain(step: Step, passed: Passed) -> dict[str, Any]:
    return {
        "name": step.name,
        "share_ppm": round(step.share * WHOLE),
        "requests_per_s": step.per_s,
        "least_s": step.least_s,
        "needs_verdict": step.verdict,
        "passed_s": {"median": _finite(passed.median_s), "most": _finite(passed.most_s)},
        "prospects": [
            {
                "kind": one.kind.value,
                "guardrail": one.guardrail,
                "what": one.what,
                "requests": {"median": _finite(one.needed.median), "most": _finite(one.needed.most)},
                "time_s": {"median": _finite(one.median_s), "most": _finite(one.most_s)},
            }
            for one in step.prospects
        ],
    }


def _about(described: Described, bad: Forecast, good: Forecast) -> Iterator[str]:
    yield f"at {_number(described.rps)} requests/s, stable with {_manner(described.stable)}"
    since = f" from {length_of(described.onset_s)} on" if described.onset_s else ""
    yield f"a candidate with {_manner(described.candidate)}{since}:"
    yield from (f"  {line}" for line in _came_to(bad))
    yield "a good candidate, just like stable:"
    yield from (f"  {line}" for line in _came_to(good))


def _came_to(one: Forecast) -> Iterator[str]:
    """What became of one candidate's rollouts, a line for each outcome that came."""
    back, promoted = one.rates[Outcome.BACK], one.rates[Outcome.PROMOTED]
    yield f"went back: {_rate(back)}{_after(one.back_s)}"
    if one.requests is not None and one.failed is not None:
        at = format_share(round(one.back_share * WHOLE))
        had, failed = one.requests, one.failed
        yield (
            f"  at a share of {at}; until then it had {_count(had.median)} requests ({_count(had.most)} in nine of "
            f"ten), of which {_count(failed.median)} failed ({_count(failed.most)})"
        )
    yield f"promoted: {_rate(promoted)}{_after(one.promoted_s)}"
    for outcome in (Outcome.PAUSED, Outcome.OPEN):
        if one.rates[outcome].came:
            yield f"{outcome}: {_rate(one.rates[outcome])}: {printable(one.words)}"


def _after(spent: Spread | None) -> str:
    if spent is None:
        return ""
    return f", after {length_of(spent.median)} in half of them and {length_of(spent.most)} in nine of ten"


def _rate(rate: Rate) -> str:
    bounds = f"{_percent(rate.lower)} to {_percent(rate.upper)}"
    return f"{rate.came} of {rate.total} ({_percent(rate.came / rate.total)}; 95 % bounds {bounds})"


def _rate_plain(rate: Rate) -> dict[str, float]:
    return {"came": rate.came, "of": rate.total, "lower": rate.lower, "upper": rate.upper}


def _spread(one: Spread | None) -> tuple[str, str]:
    return ("", "") if one is None else (length_of(one.median), length_of(one.most))


def _spread_plain(one: Spread | None) -> dict[str, float] | None:
    return None if one is None else {"median": one.median, "most": one.most}


def _turn(one: Turn) -> tuple[str, ...]:
    said = one.verdict.decision.replace("_", " ") + (", stands still" if one.verdict.freeze else "")
    return (length_of(one.after_s), _count(one.requests), said, one.verdict.words)


def _turn_plain(one: Turn) -> dict[str, Any]:
    return {
        "at_s": one.at_s,
        "after_s": one.after_s,
        "requests": one.requests,
        "decision": one.verdict.decision.value,
        "stands_still": one.verdict.freeze,
        "words": one.verdict.words,
        "numbers": {n.name: {"log_e": n.log_e, "threshold": n.threshold} for n in one.verdict.numbers},
    }


def _manner(one: Manner) -> str:
    return f"{_percent(one.errors)} errors and a median of {one.median_ms:.3g} ms"


def _percent(rate: float) -> str:
    return f"{rate * 100:.3g} %"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three figures


def _count(value: float) -> str:
    return "more than counted" if math.isinf(value) else f"{value:,.0f}"


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else value
