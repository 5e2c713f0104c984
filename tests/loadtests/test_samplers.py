"""Gateways that sample, for the comparison: each way is told and judged once, by rules that the product reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drift.sampling import SampleRule, SampleRules
from drift.settings import DriftSettings
from loadtests.compare.__main__ import _arguments, _kind
from loadtests.compare.doors import OPEN
from loadtests.compare.plan import FULL, SAMPLES, SAMPLES_QUICK
from loadtests.compare.samplers import PLAIN, WAYS, Sidecar
from loadtests.compare.targets import SAMPLES_TARGETS, TARGETS, Fact, judge


def test_every_way_is_told_under_names_of_its_own() -> None:
    """CPU and the median of each; a gateway that waited would show in the second alone."""
    facts = [fact for way in WAYS for fact in (way.cpu, way.p50, way.keeper) if fact is not None]
    assert len(set(facts)) == len(facts)
    assert {fact for fact in Fact if "sidecar" in fact or "sampling" in fact} == set(facts)


def test_what_a_sidecar_adds_is_judged_and_what_sampling_costs_is_shown() -> None:
    """Of the ways by default settings a stopped one beside an absent one; one that reads has work to do there."""
    shown = {way.other for way in WAYS if way.base is Sidecar.ABSENT and not way.flood}
    assert shown == {Sidecar.STOPPED, Sidecar.READING}
    noise = dict.fromkeys((Fact.STOPPED, Fact.STOPPED_P50), -0.2) | dict.fromkeys((Fact.READING, Fact.READING_P50), 0.2)
    assert all(verdict.met for verdict in judge(SAMPLES_TARGETS, {}, noise))
    assert not all(verdict.met for verdict in judge(SAMPLES_TARGETS, {}, {**noise, Fact.STOPPED_P50: 0.2}))
    assert not any(verdict.met for verdict in judge(SAMPLES_TARGETS, {}, {}))
    assert set(SAMPLES_TARGETS) <= set(TARGETS)


def test_the_usual_rules_are_the_defaults() -> None:
    """What is measured is what operators have."""
    usual = DriftSettings().samples.rule(0)
    for way in WAYS:
        rule = SampleRules.from_json(way.rules).usual
        assert rule is not None
        assert rule.always
        assert way.flood or rule == replace(usual, always=True)
        assert not way.flood or rule.rows_per_s > 100 * SampleRule().rows_per_s


def test_a_gateway_that_samples_nothing_is_the_open_door() -> None:
    """It is run as the one that all others are held against, and nobody is stopped for it."""
    assert (PLAIN.door, PLAIN.keeper) == (OPEN, None)
    PLAIN.begin()


@pytest.mark.parametrize(("typed", "plan"), [(["--samples"], SAMPLES), (["--samples", "--quick"], SAMPLES_QUICK)])
def test_it_can_be_run_alone(typed: list[str], plan: object) -> None:
    """As often as in a full run, or once to see whether all is well; with no other kind."""
    assert _kind(_arguments(typed)) == (plan, SAMPLES_TARGETS)
    assert SAMPLES.samples == FULL.samples > SAMPLES_QUICK.samples
    with pytest.raises(SystemExit):
        _arguments([*typed, "--totals"])
    with pytest.raises(SystemExit):
        _arguments([*typed, "--record"])
