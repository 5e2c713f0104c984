"""Who wins among several versions: whoever is shown to be better than stable, and nobody by chance."""

from __future__ import annotations

import pytest

from router.verdicts.case import Case
from router.verdicts.guardrails import Guardrail, Terms, Watches
from router.verdicts.tallies import Moment, Tally
from router.verdicts.winner import winner

STABLE = 1
TERMS = Terms((Guardrail("errors", Watches.ERRORS),))


def case_of(failed: int, *, stable: int = 5, blocks: int = 60, units: tuple[int, int] | None = None) -> Case:
    """A case in which so many of fifty requests a second failed, and so many of stable's fifty."""
    case = Case(TERMS).ramped(500_000, 500_000)
    for second in range(1, blocks + 1):
        ours, theirs = ({"x": Tally({"ok": 50 - bad, "server_error": bad})} for bad in (failed, stable))
        case = case.heard(Moment(float(second), ours, theirs, units=units))
    return case


def test_the_best_of_those_that_are_shown_to_be_better_wins() -> None:
    """By its rate, which is lower than that of another that is better than stable too."""
    assert winner({2: case_of(2), 3: case_of(1), 4: case_of(5)}, STABLE) == 3


def test_a_tie_is_no_win() -> None:
    """Nor is a lead that may be chance."""
    assert winner({2: case_of(5)}, STABLE) is None
    assert winner({2: case_of(4, blocks=5)}, STABLE) is None
    assert winner({}, STABLE) is None


def test_stable_stays_where_every_other_is_shown_to_be_worse() -> None:
    """One that may be as good keeps the question open."""
    assert winner({2: case_of(9), 3: case_of(12)}, STABLE) == STABLE
    assert winner({2: case_of(9), 3: case_of(5)}, STABLE) is None


def test_several_share_the_level() -> None:
    """What is enough for one is not enough for one of many."""
    case = next(case for blocks in range(1, 60) if winner({2: (case := case_of(2, blocks=blocks))}, STABLE) == 2)
    assert winner({2: case, **dict.fromkeys(range(3, 30), case_of(5))}, STABLE) is None


def test_a_version_that_is_taken_back_wins_nothing() -> None:
    """Fewer errors do not make up for latencies, say."""
    terms = Terms((Guardrail("errors", Watches.ERRORS, weight=3.0), Guardrail("4xx", Watches.STATUS_4XX)))
    case = Case(terms).ramped(500_000, 500_000)
    for second in range(1, 61):
        ours, theirs = Tally({"ok": 30, "client_error": 20}), Tally({"ok": 45, "server_error": 5})
        case = case.heard(Moment(float(second), {"x": ours}, {"x": theirs}))
    assert winner({2: case}, STABLE) is None


def test_nobody_wins_a_broken_experiment() -> None:
    """The arms did not get what their shares promised."""
    assert winner({2: case_of(1, units=(10, 40))}, STABLE) is None
    assert winner({2: case_of(1, units=(25, 25))}, STABLE) == 2


@pytest.mark.parametrize("watches", [Watches.LATENCY])
def test_without_a_rate_nobody_is_named(watches: Watches) -> None:
    """Whose latencies are lower is no question of winning."""
    assert winner({2: Case(Terms((Guardrail("one", watches),)))}, STABLE) is None
