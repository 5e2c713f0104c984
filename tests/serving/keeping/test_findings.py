"""What pairs come to: totals by who did worse, the breakdown by output and segment, and the worst of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.agreement import Agree, Comparison, OutputRule
from serving.diffs import OTHER, SegmentDiff, diff_from
from serving.keeping import findings as room
from serving.keeping.findings import NONE_SAID, Findings, Series, Told
from serving.keeping.sinks import Disagreement
from serving.pair_totals import PairTotals, Signs
from tests.serving.keeping.pairs import CANDIDATE, STABLE, answered, labels, pair

USUAL = Comparison()


def only(findings: Findings) -> Series:
    """The one series that there is."""
    (series,) = findings.series.values()
    return series


def test_pairs_are_counted_by_who_did_worse() -> None:
    """Failures and latencies in both directions; what only one answered well is not compared."""
    findings, outputs = Findings(), {"label": ("BYTES", ["cat"])}
    well, failed = answered(STABLE, outputs), answered(STABLE, None)
    findings.add(pair(well, answered(CANDIDATE, outputs, took_s=0.0105), nonce=1), USUAL, 0.0)
    findings.add(pair(well, answered(CANDIDATE, None, took_s=0.1), nonce=2), USUAL, 0.0)
    findings.add(pair(failed, answered(CANDIDATE, outputs, took_s=0.001), nonce=3), USUAL, 0.0)
    findings.add(pair(failed, answered(CANDIDATE, None), nonce=4), USUAL, 0.0)
    late = answered(CANDIDATE, None, outcome="late", code=0, took_s=1.0)
    findings.add(pair(well, late, nonce=5), USUAL, 0.0)
    found = only(findings).totals()
    assert (found.errors, found.slower) == (Signs(2, 1, 2), Signs(2, 1, 2))
    assert (found.compared, found.disagreed, found.unread, found.epoch) == (1, 0, 0, 7)
    assert (found.model, found.salt, found.stable, found.candidate) == ("digits", "ro_1", 1, 2)


def test_an_answer_that_did_not_come_is_not_called_slow_or_fast() -> None:
    """Of one that was given up it is known only that it took longer than that."""
    findings, outputs = Findings(), {"label": ("BYTES", ["cat"])}
    broken = answered(CANDIDATE, None, outcome="refused", code=0, took_s=0.0001)
    findings.add(pair(answered(STABLE, outputs), broken), USUAL, 0.0)
    assert only(findings).totals().slower == Signs(0, 0, 1)


def test_nobodys_fault_is_no_evidence() -> None:
    """A client or a copy that went away, and a request that another version than stable answered."""
    findings, outputs = Findings(), {"label": ("BYTES", ["cat"])}
    gone = {"outcome": "cancelled", "code": 0}
    findings.add(pair(answered(STABLE, None, **gone), answered(CANDIDATE, outputs)), USUAL, 0.0)
    findings.add(pair(answered(STABLE, outputs), answered(CANDIDATE, None, **gone)), USUAL, 0.0)
    findings.add(pair(answered(3, outputs), answered(CANDIDATE, outputs)), USUAL, 0.0)
    assert not findings.series


@pytest.mark.parametrize("body", [b"", b"{}", b"[" * 100_000, b'{"outputs":[{"name":"x"}]}', None], ids=range(5))
def test_what_cannot_be_read_is_counted_as_that(body: bytes | None) -> None:
    """Nothing is said of agreement then."""
    findings = Findings()
    copy = answered(CANDIDATE, {"label": ("BYTES", ["cat"])}, body=body)
    assert findings.add(pair(answered(STABLE, {"label": ("BYTES", ["cat"])}), copy), USUAL, 0.0) is None
    found = only(findings).totals()
    assert (found.unread, found.compared, found.errors) == (1, 0, Signs(0, 0, 1))


def test_the_second_lane_says_how_far_one_versions_answers_differ() -> None:
    """A triple counts against the candidate where it alone differs, for it where stable alone does."""
    findings = Findings()
    for nonce, (first, other, again) in enumerate([("a", "a", "a"), ("a", "b", "a"), ("a", "a", "b"), ("a", "b", "b")]):
        captured = pair(
            *(
                answered(version, {"label": ("BYTES", [text])})
                for version, text in ((STABLE, first), (CANDIDATE, other), (STABLE, again))
            ),
            nonce=nonce,
        )
        findings.add(captured, USUAL, 0.0)
    found = only(findings).totals()
    assert (found.noise, found.noise_compared, found.noise_disagreed) == (Signs(1, 1, 2), 4, 2)
    assert (found.compared, found.disagreed) == (4, 2)


def test_a_planted_disagreement_is_told_by_output_and_by_segment() -> None:
    """One class confused with another, in one of two outputs, in one segment."""
    findings, rules = Findings(), Comparison(segments=("x-country",))
    for nonce in range(200):
        planted = nonce % 20 == 0
        said: dict[str, Any] = {"score": ("FP32", [0.5])}
        captured = pair(
            answered(STABLE, {**said, "label": ("BYTES", ["cat"])}),
            answered(CANDIDATE, {**said, "label": ("BYTES", ["dog" if planted else "cat"])}),
            nonce=nonce,
            segment={"x-country": "nl"} if planted else {"x-country": "de"} if nonce % 2 else {},
        )
        found = findings.add(captured, rules, 0.0)
        assert found == (Disagreement(CANDIDATE, {"label": "values"}) if planted else None)
    diff = only(findings).diff(5.0, {})
    assert (diff.outputs["label"].disagreed, diff.outputs["score"].disagreed) == (10, 0)
    assert diff.outputs["label"].confused == {("cat", "dog"): 10}
    assert diff.segments["x-country"] == {
        "nl": SegmentDiff(10, 10), "de": SegmentDiff(100, 0), NONE_SAID: SegmentDiff(90, 0)
    }  # fmt: skip


def test_the_worst_pairs_are_kept_with_their_inputs_and_both_answers() -> None:
    """So many as the rules say, the worst first, and nothing of what is redacted."""
    rules = Comparison({"score": OutputRule(Agree.CLOSE, absolute=0.1, relative=0.0)}, keep=3, redact=("pixels", "ssn"))
    findings = Findings()
    for nonce in range(10):
        one: dict[str, Any] = {"score": ("FP32", [0.0]), "ssn": ("BYTES", ["SECRET1"])}
        two: dict[str, Any] = {"score": ("FP32", [float(nonce)]), "ssn": ("BYTES", ["SECRET2"])}
        findings.add(pair(answered(STABLE, one), answered(CANDIDATE, two), nonce=nonce), rules, 0.0)
    diff = only(findings).diff(5.0, {})
    assert [one.other["score"]["values"] for one in diff.worst] == [[9.0], [8.0], [7.0]]
    worst = diff.worst[0]
    assert (worst.first["score"]["values"], worst.outputs["score"]["size"]) == ([0.0], 9.0)
    assert worst.inputs == {"pixels": {"datatype": "FP32", "shape": [2], "redacted": True}}
    assert worst.other["ssn"] == {"datatype": "BYTES", "shape": [1], "redacted": True}
    assert b"SECRET" not in diff.encode()
    assert diff_from(diff.encode()) == diff


def test_no_pair_is_kept_where_none_is_to_be() -> None:
    """With `keep` 0 there are counts alone."""
    findings = Findings()
    findings.add(labels("cat", "dog"), Comparison(keep=0), 0.0)
    assert (only(findings).totals().disagreed, only(findings).diff(1.0, {}).worst) == (1, ())


def test_what_is_found_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs, segments and series of any number, and values of any length."""
    monkeypatch.setattr(room, "MOST_SERIES", 2)
    monkeypatch.setattr(room, "MOST_NAMES", 100)
    findings, rules = Findings(), Comparison(segments=("x-user",))
    for nonce in range(300):
        text = f"{nonce} " * 5_000
        findings.add(labels(text, text + "!", nonce=nonce, segment={"x-user": str(nonce)}), rules, 0.0)
    diff = diff_from(only(findings).diff(1.0, {}).encode())
    assert len(only(findings).diff(1.0, {}).encode()) <= 256 * 1024
    assert len(diff.segments["x-user"]) == 50
    assert diff.segments["x-user"][OTHER].compared == 300 - 49
    assert all(len(json.dumps(one.first)) < 5_000 for one in diff.worst)
    for salt in ("a", "b", "c"):
        findings.add(labels("cat", "cat", salt=salt), USUAL, 0.0)
    assert (len(findings.series), findings.beyond) == (2, 2)


def test_an_output_that_is_not_compared_is_not_told() -> None:
    """Neither in the counts nor in the verdict on the pair."""
    findings = Findings()
    assert findings.add(labels("a", "b"), Comparison({"label": OutputRule(Agree.IGNORE)}), 0.0) is None
    assert (only(findings).totals().compared, only(findings).diff(1.0, {}).outputs) == (1, {})


def test_what_workers_did_not_send_stands_beside_what_was_compared() -> None:
    """Only for a shadow of which there are pairs; a change of it is a change of the totals."""
    findings = Findings()
    findings.add(labels("a", "a"), USUAL, 0.0)
    before = only(findings).changed
    findings.hear({("digits", "ro_1", 2): Told(10, 8, {"full": 2}), ("digits", "ro_9", 2): Told(5, 5, {})})
    found = only(findings).totals()
    assert (found.offered, found.sent, found.shed) == (10, 8, {"full": 2})
    assert only(findings).changed == before + 1


def test_findings_go_on_from_those_of_the_keeper_before() -> None:
    """In what is shown; the running totals are of this process alone."""
    first, second = Findings(), Findings()
    for nonce, findings in enumerate((first, first, second)):
        findings.add(labels("a", "b", nonce=nonce), USUAL, 5.0)
    series = only(second)
    series.before = diff_from(only(first).diff(6.0, {}).encode())
    whole = series.diff(7.0, {})
    assert (whole.totals.compared, series.totals().compared, len(whole.worst)) == (3, 1, 3)
    assert (whole.since_s, whole.at_s, whole.outputs["label"].confused) == (5.0, 7.0, {("a", "b"): 3})
    assert isinstance(whole.totals, PairTotals)
