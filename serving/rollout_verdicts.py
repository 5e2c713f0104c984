"""A verdict as people read it: its words, a row for each guardrail, and what is left of the budget. Pure.

The numbers are the API's (`router.verdicts.shown`), where evidence is a power of ten: 2 is "a hundred to one".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from router.evidence.judge import MOST_LEFT_OUT
from router.verdicts.guardrails import Watches
from router.verdicts.shown import Arm, Bounds, Certified, CopiesShown, GuardrailShown, Shown

COLUMNS: Final = ("guardrail", "candidate", "stable", "odds ratio", "against it", "certificate")

_NOT_WORTH_TELLING: Final = 0.05
"""As a power of ten: less than 1.1 to 1 is nothing."""
_BEYOND: Final = 9.0


def verdict_words(version: int, said: Shown) -> str:
    """'version 2: Promote: nothing speaks against the candidate, and errors are certified at level 0.05.'."""
    return f"version {version}: {said.words}"


def verdict_rows(said: Shown) -> tuple[tuple[str, ...], ...]:
    """For each guardrail what `COLUMNS` names; of latencies, how many were slower than the fleet's highest quantile."""
    return tuple(_row(one) for one in said.guardrails)


def budget_words(said: Shown) -> str:
    """What all guardrails together hold against it, when it is taken back, and how much of the way there is left."""
    left = f"{(1 - said.spent) * 100:.0f} % of the budget is left"
    return f"against it together {odds(said.log10_e)} of {odds(said.threshold)}, {left}, rule {said.rule}"


def certificate_words(said: Certified | None) -> str:
    """'there', '3:1 of 20:1', or 'not asked for'; of two ways the one that is further."""
    if said is None:
        return "not asked for"
    if said.holds:
        return "there"
    ways = [one for one in (said.not_inferior, said.under_ceiling) if one is not None]
    return f"{odds(max(ways, default=0.0), ':1')} of {odds(said.threshold, ':1')}"


def odds(log10_e: float, unit: str = " to 1") -> str:
    """'120 to 1' from 2.08, in tables '120:1'; 'nothing' where it is no evidence at all."""
    if log10_e < _NOT_WORTH_TELLING:
        return "nothing"
    if log10_e >= _BEYOND:
        return f"over a billion{unit}"
    value = 10.0**log10_e
    return f"{value:,.0f}{unit}" if value >= 10 else f"{value:.1f}{unit}"  # noqa: PLR2004 - two figures


def verdict_lines(version: int, said: Shown) -> Iterator[str]:
    """The same as plain lines, the rows in columns."""
    yield f"verdict: {verdict_words(version, said)}"
    rows = (COLUMNS, *verdict_rows(said))
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield f"budget: {budget_words(said)}"
    if said.copies is not None:
        yield f"copies: {copies_words(said.copies)}"


def copies_words(said: CopiesShown) -> str:
    """'4,980 pairs compared, 62 % of the 8,000 requests in the sample (3,020 shed, 0 not to be read): ...'."""
    left_out = f"({said.shed:,} shed, {said.unread:,} not to be read)" if said.shown < 1 else ""
    few = ": not representative" if 1 - said.shown > MOST_LEFT_OUT else ""
    offered = f"{said.shown * 100:.0f} % of the {said.offered:,} requests in the sample {left_out}".rstrip()
    noise = said.noise
    own = "" if noise is None else f"; stable differs from itself in {noise.events:,} of {noise.total:,}"
    return f"{said.pairs:,} pairs, {offered}{few}{own}"


def _row(one: GuardrailShown) -> tuple[str, ...]:
    return (
        one.name,
        _values(one.candidate) if one.watches == Watches.FEEDBACK else _arm(one.candidate, one.counted),
        _values(one.stable) if one.watches == Watches.FEEDBACK else _arm(one.stable, one.counted),
        _bounds(one.odds_ratio),
        odds(one.log10_e, ":1"),
        certificate_words(one.certified),
    )


def _values(arm: Arm) -> str:
    return f"{arm.total:,} values"


def _arm(arm: Arm, counted: str) -> str:
    if counted == "pairs" and not arm.total:
        return "-"
    units = "" if counted == "requests" else f" {counted}"
    return f"{arm.events:,} of {arm.total:,}{units}"


def _bounds(bounds: Bounds | None) -> str:
    """'1.8 (0.9-3.4)': right at every look at once, so that nobody who looks often is misled."""
    if bounds is None:
        return "unknown"
    upper = "any" if bounds.upper is None else f"{bounds.upper:.2g}"
    return f"{bounds.likeliest:.2g} ({bounds.lower:.2g}-{upper})"
