"""Strategies for every kind of state, and for what may be added to it."""

from __future__ import annotations

from hypothesis import strategies as st

from router.evidence.betting import Bets, BoundedTest
from router.evidence.counts import Block
from router.evidence.events import Events
from router.evidence.latency import Latency
from router.evidence.means import Means, MeanTest
from router.evidence.odds_interval import OddsCurve
from router.evidence.one_arm import OneArm, RateTest
from router.evidence.pairs import Pairs
from router.evidence.replicas import Replicas
from router.evidence.restarts import Restarts
from router.evidence.sample_ratio import Phase, SampleRatio
from router.evidence.samples import Pair, Sample
from router.evidence.two_arm import Form, OddsTest, Side, TwoArm

counts = st.integers(0, 300)
chances = st.floats(0.001, 0.999)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    """Any block, empty arms and events everywhere among them."""
    n_c, n_b = draw(counts), draw(counts)
    return Block.of(candidate=(draw(st.integers(0, n_c)), n_c), stable=(draw(st.integers(0, n_b)), n_b))


@st.composite
def part(draw: st.DrawFn, total: int = 10_000) -> tuple[int, int]:
    """Some of a number."""
    whole = draw(st.integers(0, total))
    return draw(st.integers(0, whole)), whole


def samples() -> st.SearchStrategy[Sample]:
    """Two values at least of one arm."""
    return st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6).map(Sample.of)


def two_arms(test: OddsTest) -> st.SearchStrategy[TwoArm]:
    """T1 in either form."""
    forms = st.sampled_from([form for form in Form if test.allows(form)])
    return st.builds(TwoArm(test).add, st.lists(blocks(), max_size=3), forms)


def latencies(test: OddsTest) -> st.SearchStrategy[Latency]:
    """T3 at three quantiles."""
    return st.builds(Latency.against(test).add, st.tuples(blocks(), blocks(), blocks()))


def one_arms(test: RateTest) -> st.SearchStrategy[OneArm]:
    """T2."""
    return part().map(lambda counted: OneArm(test, *counted))


def events(test: OddsTest) -> st.SearchStrategy[Events]:
    """T5."""
    return st.builds(lambda counted, share: Events(test).add(counted[0], counted[1], share), part(), chances)


def means(test: MeanTest) -> st.SearchStrategy[Means]:
    """T4."""
    return st.builds(Pair, samples(), samples()).map(Means(test).add)


def bets(test: BoundedTest) -> st.SearchStrategy[Bets]:
    """Bounded means."""
    return st.lists(st.floats(test.low, test.high), max_size=5).map(Bets(test).add)


def ratios(weights: tuple[int, ...]) -> st.SearchStrategy[SampleRatio]:
    """T6 with one phase."""
    arms = st.tuples(*[st.integers(0, 10**6)] * len(weights))
    return arms.map(lambda units: SampleRatio((Phase(weights, units),)))


def ranks() -> st.SearchStrategy[Replicas]:
    """T9 after a block."""
    scores = st.lists(st.floats(0, 1), max_size=4)
    return st.builds(Replicas().add, scores, scores, st.floats(0, 1, exclude_max=True))


def pairs() -> st.SearchStrategy[Pairs]:
    """T7."""
    return st.builds(Pairs, counts, counts, counts)


def restarts(test: RateTest) -> st.SearchStrategy[Restarts[OneArm]]:
    """Two copies of T2, of an open number or of three."""
    copies = st.tuples(one_arms(test), one_arms(test))
    return copies.map(lambda both: Restarts(both, 3))


odds_tests = st.sampled_from(
    [OddsTest(), OddsTest(1.5), OddsTest(2.0, Side.NOT_WORSE), OddsTest(0.8), OddsTest(side=Side.DIFFERENT)]
)
rate_tests = st.builds(RateTest, chances, st.sampled_from([Side.WORSE, Side.NOT_WORSE]))
mean_tests = st.builds(MeanTest, st.floats(0.1, 1e6), st.floats(-5, 5), st.sampled_from([1, -1]), st.floats(0.001, 0.4))
bounded_tests = st.sampled_from([BoundedTest(), BoundedTest(0, 1, 0.25), BoundedTest(-3, 5, -2.5)])
weights = st.lists(st.integers(1, 10**6), min_size=2, max_size=4).map(tuple)


def same(*, count: int) -> st.SearchStrategy[tuple[object, ...]]:
    """So many states of one kind against one hypothesis."""

    def of(one: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
        return st.tuples(*[one] * count)

    return st.one_of(
        odds_tests.map(two_arms).flatmap(of),
        odds_tests.map(latencies).flatmap(of),
        odds_tests.map(events).flatmap(of),
        rate_tests.map(one_arms).flatmap(of),
        rate_tests.map(restarts).flatmap(of),
        mean_tests.map(means).flatmap(of),
        bounded_tests.map(bets).flatmap(of),
        weights.map(ratios).flatmap(of),
        of(ranks()),
        of(pairs()),
        of(st.lists(blocks(), max_size=3).map(OddsCurve().add)),
    )
