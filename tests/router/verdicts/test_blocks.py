"""Messages of gateways become seconds: everything of one leg is counted once, whatever is lost or comes twice."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from router.verdicts.blocks import FORGOTTEN_S, LATE_S, LONGEST_GAP_S, Blocks, Totals
from router.verdicts.tallies import Moment, Tally, durations, together
from router.verdicts.units import Sighting, Took, UnitBlock, UnitsSeen

CANDIDATE, STABLE, EPOCH = 2, 1, 7
steps = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.integers(0, 4), st.floats(0.05, 0.6)),
    min_size=1,
    max_size=40,
)


def blocks(judged_s: float = 100.0) -> Blocks:
    """Of the tests' versions."""
    return Blocks(CANDIDATE, STABLE, epoch=EPOCH, judged_s=judged_s, seed=b"a seed")


def totals(gateway: str, at_s: float, candidate: int, stable: int, epoch: int = EPOCH) -> Totals:
    """So many good answers by then, each in bucket 9."""
    series = {
        (CANDIDATE, "c0"): Tally({"ok": candidate}, {9: candidate}),
        (STABLE, "s0"): Tally({"ok": stable}, {9: stable}),
        (5, "other"): Tally({"ok": 1_000 + stable}),
    }
    return Totals(gateway, at_s, epoch, series)


def counted(moments: Sequence[Moment]) -> tuple[int, int]:
    """Requests of the candidate and of stable."""
    arms = ([one.candidate for one in moments], [one.stable for one in moments])
    first, second = (sum(tally.total for arm in arms_of for tally in arm.values()) for arms_of in arms)
    return first, second


@given(steps, st.sets(st.integers(0, 39)), st.sets(st.integers(0, 39)))
def test_nothing_is_lost_and_nothing_counted_twice(
    walk: list[tuple[str, int, int, float]], lost: set[int], twice: set[int]
) -> None:
    """Over all blocks each gateway has done what lies between its first message and its last one, whatever was lost."""
    heard, sums, at_s = blocks(), {"a": (0, 0), "b": (0, 0)}, 100.0
    bounds: dict[str, list[tuple[int, int]]] = {}
    moments: list[Moment] = []
    for index, (gateway, candidate, stable, pause_s) in enumerate(walk):
        at_s += pause_s
        sums[gateway] = (sums[gateway][0] + candidate, sums[gateway][1] + stable)
        if index in lost:
            continue
        for _ in range(2 if index in twice else 1):
            heard.hear(totals(gateway, at_s, *sums[gateway]))
        bounds.setdefault(gateway, [sums[gateway], sums[gateway]])[1] = sums[gateway]
        moments += heard.close(at_s)
    moments += heard.close(at_s + LATE_S + 2)
    expected = tuple(sum(last[arm] - first[arm] for first, last in bounds.values()) for arm in (0, 1))
    assert counted(moments) == expected
    assert [one.ended_s for one in moments] == sorted({one.ended_s for one in moments})
    assert sum(
        durations(together(arm.values())).total() for one in moments for arm in (one.candidate, one.stable)
    ) == sum(expected)


def test_what_a_gateway_did_in_another_epoch_is_left_out() -> None:
    """Whether it was an older leg's, or changed on the way."""
    heard = blocks()
    heard.hear(totals("a", 100.1, 0, 0, EPOCH - 1))
    heard.hear(totals("a", 100.4, 5, 5, EPOCH - 1))
    heard.hear(totals("a", 100.7, 9, 9, EPOCH))
    heard.hear(totals("a", 100.9, 10, 12, EPOCH))
    heard.hear(totals("a", 101.2, 20, 20, EPOCH + 1))
    assert counted(heard.close(110.0)) == (1, 3)


def test_a_new_leg_counts_from_its_own_epoch_on() -> None:
    """Gateways that have not heard of it yet are left out meanwhile."""
    heard = blocks()
    heard.hear(totals("a", 100.1, 0, 0))
    heard.leg(EPOCH + 1)
    heard.hear(totals("a", 100.4, 5, 5))
    heard.hear(totals("a", 100.6, 6, 6, EPOCH + 1))
    heard.hear(totals("a", 100.8, 7, 8, EPOCH + 1))
    assert counted(heard.close(110.0)) == (1, 2)


def test_a_gateway_that_began_again_is_another_one() -> None:
    """And one whose totals ran backwards under the same name is counted from there."""
    heard = blocks()
    heard.hear(totals("a", 100.1, 50, 50))
    heard.hear(totals("a", 100.3, 3, 3))
    heard.hear(totals("a", 100.5, 4, 5))
    assert counted(heard.close(110.0)) == (1, 2)


def test_a_second_is_closed_once_nothing_is_on_its_way() -> None:
    """A message that comes later than that is counted in the next second."""
    heard = blocks()
    heard.hear(totals("a", 100.1, 0, 0))
    heard.hear(totals("a", 100.6, 1, 1))
    assert heard.close(101.5) == []
    assert [one.ended_s for one in heard.close(102.0)] == [101.0]
    heard.hear(totals("a", 100.9, 4, 4))
    (late,) = heard.close(103.0)
    assert (late.ended_s, counted([late])) == (102.0, (3, 3))


def test_after_a_restart_nothing_is_judged_again() -> None:
    """Messages of before the newest judged block only say where counting goes on."""
    heard = blocks(judged_s=101.0)
    heard.hear(totals("a", 98.1, 0, 0))
    heard.hear(totals("a", 99.6, 40, 40))
    heard.hear(totals("a", 101.4, 42, 43))
    assert counted(heard.close(110.0)) == (2, 3)
    assert heard.newest_s == 101.4


def test_a_long_silence_is_passed_over() -> None:
    """A night without a message is not a block for each second; what was heard before it is not lost."""
    heard = blocks()
    heard.hear(totals("a", 100.1, 0, 0))
    heard.hear(totals("a", 100.6, 1, 1))
    assert counted(heard.close(140.0)) == (1, 1)
    assert len(heard.close(40_000.0)) == LONGEST_GAP_S
    heard.hear(totals("a", 40_001.0, 3, 3))
    assert counted(heard.close(40_010.0)) == (2, 2)


def test_draws_are_the_rollouts_own() -> None:
    """Uniform, the same after a restart, and other ones for another seed."""
    draws = [one.draw for one in blocks().close(160.0)]
    assert draws == [one.draw for one in blocks().close(160.0)]
    assert len(set(draws)) == len(draws)
    assert all(0 <= draw < 1 for draw in draws)
    assert 0.3 < sum(draws) / len(draws) < 0.7


def dealt(gateway: str, at_s: float, drawn: tuple[int, int], seen: UnitsSeen | None = None) -> Totals:
    """So many draws without a unit by then, and the units since the message before."""
    return Totals(gateway, at_s, EPOCH, {}, {CANDIDATE: drawn[0], STABLE: drawn[1], 5: 77}, seen)


def test_draws_are_differences_of_running_totals() -> None:
    """Summed over gateways, whatever is lost or comes twice; what one had before its first message is not known."""
    heard = blocks()
    for gateway, base in (("a", 10), ("b", 500)):
        heard.hear(dealt(gateway, 100.1, (base, base)))
    for message in (dealt("a", 100.4, (13, 30)), dealt("a", 100.4, (13, 30)), dealt("b", 100.6, (501, 504))):
        heard.hear(message)
    (first,) = heard.close(102.0)
    assert first.units == (3 + 1, 20 + 4)
    heard.hear(Totals("a", 101.2, EPOCH, {}, {STABLE: 31}))
    assert heard.close(103.0)[0].units == (0, 1)
    heard.hear(dealt("a", 102.2, (0, 0)))
    assert heard.close(104.0)[0].units is None


def test_units_of_several_gateways_are_those_of_one() -> None:
    """Each once, with what became of it at any of them; other versions' are left out."""
    ok, bad = frozenset({"ok"}), frozenset({"server_error"})
    parts = [
        (Sighting(1, CANDIDATE, ok, Took(7)), Sighting(2, STABLE, ok)),
        (Sighting(1, CANDIDATE, bad, Took(3)), Sighting(3, STABLE, ok, Took(9, answered=False)), Sighting(4, 5, bad)),
    ]
    apart, together_ = blocks(), blocks()
    for heard in (apart, together_):
        for gateway in "ab":
            heard.hear(dealt(gateway, 100.1, (0, 0)))
    for gateway, seen in zip("ab", parts, strict=True):
        apart.hear(dealt(gateway, 100.5, (0, 0), UnitsSeen(2**53, seen)))
    together_.hear(dealt("a", 100.5, (0, 0), UnitsSeen(2**53, (*parts[0], *parts[1]))))
    found = apart.close(102.0)[0].people
    assert found == together_.close(102.0)[0].people
    assert found == UnitBlock(2**53, {1: ok | bad}, {2: ok, 3: ok}, {1: Took(7), 3: Took(9, answered=False)})


def test_units_of_a_message_that_comes_again_are_not_seen_again() -> None:
    """Nor those of a gateway's first message, or of one that ran another epoch before."""
    seen = UnitsSeen(2**53, (Sighting(1, CANDIDATE, frozenset({"ok"})),))
    heard = blocks()
    heard.hear(dealt("a", 100.1, (0, 0), seen))
    heard.hear(dealt("a", 100.4, (1, 0), seen))
    assert heard.close(102.0)[0].people is not None
    heard.hear(dealt("a", 100.4, (1, 0), seen))
    heard.hear(dealt("b", 102.4, (1, 0), seen)._replace(epoch=EPOCH - 1))
    heard.hear(dealt("b", 102.6, (1, 0), seen))
    assert [one.people for one in heard.close(105.0)] == [None] * 3


def test_a_second_belongs_to_one_leg() -> None:
    """What is open when the next one begins is let go: other shares held for it. The same leg again changes nothing."""
    heard = blocks()
    for at_s, count in ((100.1, 0), (100.6, 5)):
        heard.hear(totals("a", at_s, count, count))
    heard.leg(EPOCH)
    heard.hear(totals("a", 100.7, 6, 6))
    heard.leg(EPOCH + 1)
    heard.hear(totals("a", 100.8, 8, 8, EPOCH + 1))
    heard.hear(totals("a", 100.9, 9, 10, EPOCH + 1))
    assert counted(heard.close(110.0)) == (1, 2)


def test_gateways_that_are_gone_are_forgotten() -> None:
    """Rollouts outlive many gateways; one that comes back after so long counts from there."""
    heard = blocks()
    heard.hear(totals("a", 100.1, 0, 0))
    heard.hear(totals("b", 100.1 + 2 * FORGOTTEN_S, 0, 0))
    heard.close(100.1 + 2 * FORGOTTEN_S)
    heard.hear(totals("a", 101.0 + 2 * FORGOTTEN_S, 9, 9))
    heard.hear(totals("a", 101.5 + 2 * FORGOTTEN_S, 10, 11))
    assert counted(heard.close(110.0 + 2 * FORGOTTEN_S)) == (1, 2)


def test_what_was_predicted_is_counted_by_label() -> None:
    """As everything else that grows."""
    heard = blocks()
    for at_s, cats in ((100.1, 5), (100.5, 7)):
        tally = Tally({"ok": cats}, predicted={"cat": cats, "dog": 1})
        heard.hear(Totals("a", at_s, EPOCH, {(CANDIDATE, "c0"): tally}))
    assert heard.close(102.0)[0].candidate["c0"].predicted == {"cat": 2}


visits = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 6),
        st.sampled_from([CANDIDATE, STABLE]),
        st.sampled_from([frozenset({"ok"}), frozenset({"late"}), frozenset[str]()]),
        st.floats(0.05, 0.6),
    ),
    min_size=1,
    max_size=30,
)


@given(visits, st.sets(st.integers(0, 29)))
def test_who_saw_a_unit_and_how_often_it_was_told_does_not_matter(
    walk: list[tuple[str, int, int, frozenset[str], float]], twice: set[int]
) -> None:
    """Several gateways, some of whose messages come twice, make the blocks that one gateway would have made."""
    several, one = blocks(), blocks()
    for gateway in "abc":
        several.hear(dealt(gateway, 100.01, (0, 0)))
    one.hear(dealt("all", 100.01, (0, 0)))
    at_s, own, all_ = 100.02, {"a": 0, "b": 0, "c": 0}, 0
    for nth, (gateway, unit, version, outcomes, pause_s) in enumerate(walk):
        at_s += pause_s
        own[gateway], all_ = own[gateway] + 1, all_ + 1
        seen = UnitsSeen(2**53, (Sighting(unit, version, outcomes, Took(nth) if outcomes else None),))
        for _ in range(2 if nth in twice else 1):
            several.hear(dealt(gateway, at_s, (own[gateway], 0), seen))
        one.hear(dealt("all", at_s, (all_, 0), seen))
    assert several.close(at_s + LATE_S + 2) == one.close(at_s + LATE_S + 2)
