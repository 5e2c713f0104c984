"""The evidence at one guardrail: what each kind counts, and what it forgets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.evidence.counts import Block
from router.evidence.sequential import threshold
from router.verdicts.dockets import LIMIT_WINDOW_S, Latencies, Rates, opened, quantile_buckets, slower
from router.verdicts.guardrails import DEFAULTS, Guardrail, Watches
from router.verdicts.tallies import Moment, Tally

ERRORS, LATENCY = DEFAULTS
histograms = st.dictionaries(st.integers(0, 60), st.integers(1, 9), min_size=1, max_size=8)


def moment(at_s: float, candidate: tuple[int, int], stable: tuple[int, int]) -> Moment:
    """A block of (failed, all) requests."""
    first, second = (
        {"x": Tally({"ok": total - failed, "server_error": failed})} for failed, total in (candidate, stable)
    )
    return Moment(at_s, first, second)


def rates(guardrail: Guardrail = ERRORS) -> Rates:
    """An empty docket of a guardrail that watches outcomes."""
    docket = opened(guardrail)
    assert isinstance(docket, Rates)
    return docket


@given(histograms, st.sampled_from([0.01, 0.5, 0.9, 0.99]))
def test_a_quantile_is_the_first_bucket_that_leaves_so_many_above_it(durations: dict[int, int], q: float) -> None:
    """At most (1 - q) of all, and with one bucket less it would be more."""
    taus = quantile_buckets(durations, (q,))
    assert taus is not None
    total = sum(durations.values())
    above = sum(count for bucket, count in durations.items() if bucket > taus[0])
    at_least = sum(count for bucket, count in durations.items() if bucket >= taus[0])
    assert above <= (1 - q) * total + 1e-9 < at_least + 1e-6


def test_no_minute_no_quantile() -> None:
    """A block after a minute of silence is not judged by latency."""
    docket = opened(LATENCY)
    assert isinstance(docket, Latencies)
    assert quantile_buckets({}, (0.5,)) is None
    assert docket.heard(LATENCY, moment(1.0, (0, 9), (0, 9)), {}) is docket


def test_slower_counts_what_outlived_the_limit() -> None:
    """In both arms alike."""
    candidate, stable = Tally(answered={5: 3, 9: 1}, unanswered={9: 2}), Tally(answered={5: 8})
    assert slower(candidate, stable, 6) == Block.of(candidate=(3, 6), stable=(0, 8))


def test_errors_speak_against_a_candidate_that_has_more() -> None:
    """And nothing does while nothing fails, though clean requests let it be certified."""
    docket = rates()
    for second in range(1, 61):
        docket = docket.heard(ERRORS, moment(second, (0, 10), (0, 90)))
    assert docket.harm.log_e == pytest.approx(0.0)
    certificate = docket.certificate("errors")
    assert certificate is not None
    assert certificate.under_ceiling is not None
    assert certificate.under_ceiling > threshold(0.05)
    for second in range(61, 121):
        docket = docket.heard(ERRORS, moment(second, (1, 10), (0, 90)))
    assert docket.harm.log_e > threshold(1e-6)
    assert docket.seen == Block.of(candidate=(60, 1_200), stable=(0, 10_800))
    assert docket.curve.interval(0.05).lower > 1


def test_a_shared_incident_is_no_harm_and_a_reason_to_stand_still_until_it_is_over() -> None:
    """Both arms fail alike: the limit speaks and harm does not; two windows later it is forgotten."""
    docket = rates()
    for second in range(1, 31):
        docket = docket.heard(ERRORS, moment(second, (2, 10), (18, 90)))
    assert docket.harm.log_e < threshold(0.05)
    assert docket.limited is not None
    assert docket.limited.log_e > threshold(0.01)
    for second in range(31, 31 + int(3 * LIMIT_WINDOW_S)):
        docket = docket.heard(ERRORS, moment(second, (0, 10), (0, 90)))
    assert docket.limited is not None
    assert docket.limited.log_e < 0


def test_the_calm_before_an_incident_does_not_outweigh_its_beginning() -> None:
    """Most of a window without a failure, then both arms fail alike: the limit speaks within a few blocks."""
    docket = rates()
    for second in range(1, 46):
        docket = docket.heard(ERRORS, moment(second, (0, 30), (0, 90)))
    assert docket.limited is not None
    assert docket.limited.log_e <= 0
    for second in range(46, 53):
        docket = docket.heard(ERRORS, moment(second, (6, 30), (18, 90)))
    assert docket.limited is not None
    assert docket.limited.log_e > threshold(0.01)


@pytest.mark.parametrize(
    ("watches", "outcome"),
    [(Watches.TIMEOUTS, "late"), (Watches.STATUS_4XX, "client_error"), (Watches.STATUS_503, "unavailable")],
)
def test_each_kind_counts_its_own(watches: Watches, outcome: str) -> None:
    """And no other's."""
    guardrail = Guardrail("one", watches)
    hit = Moment(1.0, {"c": Tally({"ok": 8, outcome: 2})}, {"s": Tally({"ok": 50, "broken": 5})})
    docket = rates(guardrail).heard(guardrail, hit)
    assert docket.seen == Block.of(candidate=(2, 10), stable=(0, 55))
    assert docket.certificate("one") is None


def test_a_copy_that_begins_later_has_no_cushion() -> None:
    """A clean quarter of an hour, then a regression: with a new copy it is found, without it is not yet."""
    docket = rates()
    for second in range(1, 901):
        docket = docket.heard(ERRORS, moment(second, (0, 50), (1, 50)))
    fresh = docket.restarted(ERRORS)
    for second in range(901, 916):
        bad = moment(second, (4, 50), (1, 50))
        docket, fresh = docket.heard(ERRORS, bad), fresh.heard(ERRORS, bad)
    assert docket.harm.log_e < threshold(0.01) < fresh.harm.log_e
    assert math.isfinite(fresh.harm.log_e)


def test_latencies_of_a_slower_candidate() -> None:
    """Judged by the minute before: half as much again of everything is plain to see."""
    docket = opened(LATENCY)
    assert isinstance(docket, Latencies)
    usual = {10: 50, 11: 40, 12: 9, 13: 1}
    stable = {"s": Tally({"ok": 100}, usual)}
    for second in range(1, 31):
        docket = docket.heard(LATENCY, Moment(second, {"c": Tally({"ok": 10}, {12: 6, 14: 4})}, stable), usual)
    assert docket.harm.log_e > threshold(1e-6)
    assert docket.seen == Block.of(candidate=(120, 300), stable=(30, 3_000))
