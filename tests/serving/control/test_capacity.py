"""A version gets no more than it carries, with the figures in the sentence; and there is always a way back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy import WHOLE, Arm, OverCapacity, Policy
from serving.control.capacity import excesses, unknown
from serving.control.errors import Unacceptable
from serving.control.fake_store import FakeStore
from serving.control.rates import Rates
from serving.control.service import ControlService, Wanted
from serving.endpoint import Endpoint, Load
from serving.figures import Figures
from serving.leases import GatewayLease

STABLE = Policy(stable=1)


def half(policy: Policy = STABLE) -> Policy:
    """Half of it to version 2."""
    return policy.with_shares({2: WHOLE // 2})


def ready(*each: tuple[int, float | None]) -> list[tuple[Endpoint, Load]]:
    """Endpoints by version, with what each of them carries."""
    return [
        (Endpoint("h", 9_000 + place, 0, "m", version), Load(throughput=carries))
        for place, (version, carries) in enumerate(each)
    ]


def test_the_sentence_has_all_figures() -> None:
    """Rate, share, replicas, and what each of them carries."""
    [excess] = excesses("m", STABLE, half(), 1_000, ready((1, 900), (2, 100), (2, 150)))
    assert str(excess) == (
        "Version 2 of m would get 500 requests/s (50 % of 1000), and its 2 ready replicas carry 250 (100, 150)."
    )
    assert excess.carried_ppm == 250_000


@pytest.mark.parametrize(
    ("before", "after", "rate", "each"),
    [
        (STABLE, half(), 1_000, ((1, 900), (2, 500))),
        (STABLE, half(), None, ((1, 900), (2, 1))),
        (STABLE, half(), 0, ((1, 900), (2, 1))),
        (STABLE, half(), 1_000, ((1, 900), (2, None), (2, 1))),
        (STABLE, half(), 1_000, ((1, 900),)),
        (half(), STABLE, 1_000, ((1, 1), (2, 900))),
        (half(), half(), 1_000, ((1, 1), (2, 1))),
    ],
    ids=["enough", "no rate", "no traffic", "one unknown", "none ready", "the way back", "as before"],
)
def test_what_is_not_known_or_not_more_is_not_refused(
    before: Policy, after: Policy, rate: float | None, each: tuple[tuple[int, float | None], ...]
) -> None:
    """Silence of a replica is no figure, and giving stable its traffic back is never an excess."""
    assert excesses("m", before, after, rate, ready(*each)) == ()


@pytest.mark.parametrize(
    ("rate", "each", "found"),
    [
        (1_000, ((1, 900), (2, 1)), set()),
        (None, ((2, 1),), {2}),
        (0, ((2, 1),), {2}),
        (1_000, ((2, None), (2, 1)), {2}),
        (1_000, ((1, 900),), {2}),
    ],
    ids=["known", "no rate", "no traffic", "one replica unknown", "none ready"],
)
def test_what_is_not_known_is_told_from_what_is_carried(
    rate: float | None, each: tuple[tuple[int, float | None], ...], found: set[int]
) -> None:
    """Neither is refused, but only the one is a reason to give more."""
    assert unknown("m", STABLE, half(), rate, ready(*each)) == found
    assert unknown("m", half(), STABLE, rate, ready(*each)) == set(), "what gets no more is not looked at"


def test_another_stable_must_carry_what_it_gets() -> None:
    """A flip is a change like any other."""
    [excess] = excesses("m", STABLE, Policy(stable=2), 1_000, ready((2, 400)))
    assert (excess.version, excess.share_ppm) == (2, WHOLE)


@given(st.floats(0.1, 1e6), st.integers(1, WHOLE), st.lists(st.floats(0, 1e6), min_size=1, max_size=5))
def test_what_is_carried_is_no_excess(rate: float, share: int, each: list[float]) -> None:
    """The share that an excess names as carried is accepted, and a larger one is not."""
    found = excesses("m", STABLE, STABLE.with_shares({2: share}), rate, ready(*((2, one) for one in each)))
    for excess in found:
        carried = STABLE.with_shares({2: excess.carried_ppm})
        assert excess.carried_ppm < share
        assert excesses("m", STABLE, carried, rate, ready(*((2, one) for one in each))) == ()


# Rates.


def said(requests: int, gateway: str = "g", boot: str = "b") -> GatewayLease:
    """A gateway that has answered so many."""
    return GatewayLease(
        gateway, boot, 1, "h", 1, 1, "d", requests={"m/1": requests // 2, "m/2": requests - requests // 2}
    )


def test_rates_are_of_the_last_seconds() -> None:
    """Over all gateways and versions; what was before the window does not count."""
    rates = Rates()
    assert rates.of("m") is None
    for second in range(31):
        busy = 10 * second if second <= 15 else 150 + 100 * (second - 15)
        rates = rates.with_totals([said(busy), said(second, "other")], second)
    assert rates.of("m") == pytest.approx(101)
    assert rates.of("ghost") == 0
    assert len(rates.seen) == 11


def test_a_gateway_that_comes_or_comes_back_makes_no_rate_by_that() -> None:
    """Its running total is a beginning."""
    rates = Rates().with_totals([said(0)], 0).with_totals([said(10), said(1_000_000, "old")], 1)
    rates = rates.with_totals([said(5, boot="next"), said(1_000_010, "old")], 2)
    assert rates.of("m") == pytest.approx((10 + 10) / 2)


# As the service does it.


class Room:
    """A model that gets 1,000 requests/s, and two versions."""

    def __init__(self) -> None:
        self.store = FakeStore(lambda: 0.0)
        self.service = ControlService(self.store, {"m": {1: "pool", 2: "pool"}})
        for second in range(2):
            lease = GatewayLease("g", "b", 1, "h", 1, 0, "", requests={"m/1": 1_000 * second})
            self.service.rates = self.service.rates.with_totals([lease], second)

    async def begin(self, *each: tuple[int, float | None]) -> None:
        """Version 1 has all traffic, and these are ready."""
        for endpoint, load in ready((1, 1_000), *each):
            await self.store.hold(endpoint, 60, load)
        await self.store.change("m", STABLE, 0, who="ada")

    async def change(self, wanted: Wanted, *, force: bool = False) -> tuple[dict[int, int], tuple[str, ...]]:
        """The shares that come of it, and what is said of them."""
        done = await self.service.set_policy("m", wanted, None, who="ada", wait_s=0, force=force)
        return dict(done.current.policy.shares()), done.notes


async def test_a_policy_that_a_version_cannot_carry_is_refused() -> None:
    """Unless somebody insists, or the policy says that it does not matter."""
    room = Room()
    await room.begin((2, 300))
    with pytest.raises(
        Unacceptable, match=r"would get 500 requests/s \(50 % of 1000\), and its 1 ready replica carries"
    ):
        await room.change(Wanted(1, {2: WHOLE // 2}))
    assert (await room.store.head()).epoch == 1
    assert await room.change(Wanted(1, {2: 300_000})) == ({1: 700_000, 2: 300_000}, ())
    assert await room.change(Wanted(1, {2: 400_000}), force=True) == ({1: 600_000, 2: 400_000}, ())
    ignoring = Wanted(1, {2: 500_000}, over_capacity=OverCapacity.IGNORE)
    assert await room.change(ignoring) == ({1: 500_000, 2: 500_000}, ())
    assert (await room.service.current("m")).policy.over_capacity is OverCapacity.IGNORE
    assert await room.change(Wanted(1)) == ({1: WHOLE}, ())


async def test_a_policy_that_clamps_gives_what_is_carried_and_says_so() -> None:
    """The rest goes to stable; a stable that carries too little is refused all the same."""
    room = Room()
    await room.begin((2, 300), (2, 50))
    clamping = Wanted(1, {2: 500_000}, over_capacity=OverCapacity.CLAMP)
    shares, [note] = await room.change(clamping)
    assert shares == {1: 650_000, 2: 350_000}
    assert note.endswith("It gets 35 %, what it carries.")
    with pytest.raises(Unacceptable, match="Version 2 of m would get 1000 requests/s"):
        await room.change(Wanted(2))


async def test_versions_that_the_registry_put_away_get_no_traffic() -> None:
    """Not even by force; those of the settings are nobody's in the registry."""
    room = Room()
    await room.begin((2, None), (3, None))
    asked: list[list[int]] = []

    async def routable(_model: str, versions: object, /) -> list[str]:
        asked.append(list(versions))  # type: ignore[call-overload]
        return ["m version 3 is archived."] if 3 in asked[-1] else []

    room.service.routable = routable
    await room.change(Wanted(1, {2: 10}))
    with pytest.raises(Unacceptable, match="archived"):
        await room.change(Wanted(1, {3: 10}), force=True)
    assert asked == [[], [3]]


def test_a_policy_keeps_what_it_says_of_excess() -> None:
    """What is left out stays as it is."""
    clamping = replace(STABLE, over_capacity=OverCapacity.CLAMP)
    assert half(clamping).over_capacity is OverCapacity.CLAMP
    assert clamping.with_shares({2: 1}).arms == (Arm(2, 1),)


def test_how_versions_answered_lately_is_told_by_what_came_in_the_window() -> None:
    """Summed over gateways, what came before the window left out, whatever the other models do."""

    def at(second: float, name: str = "g", boot: str = "b", **counts: int) -> GatewayLease:
        figures = {f"m/{key[1:]}": Figures(count, count // 10, {1_024: count}) for key, count in counts.items()}
        figures["other/2"] = Figures(int(second) * 1_000)
        return GatewayLease(name, boot, 1, "h", 1, 1, "d", figures=figures)

    rates = Rates().with_figures([at(0, v1=100)], 0)
    assert rates.lately("m") == {}
    rates = rates.with_figures([at(2, v1=200, v2=50), at(2, "new", v1=10_000)], 2)
    rates = rates.with_figures([at(4, v1=200, v2=100), at(4, "new", v1=10_100)], 4)
    found = rates.lately("m")
    assert (found[1].figures.attempts, found[1].per_s) == (200, 50)
    assert (found[2].figures.attempts, found[2].figures.error_share) == (100, 0.1)
    assert found[2].figures.took_ms(0.99) == pytest.approx(1.1, abs=0.2)
    assert found.keys() == {1, 2}


def test_figures_that_are_seldom_read_tell_as_much() -> None:
    """Looks without them change nothing of what they say, and the last two moments stand however far apart they are."""

    def at(count: int) -> GatewayLease:
        return GatewayLease("g", "b", 1, "h", 1, 1, "d", requests={"m/1": count}, figures={"m/1": Figures(count)})

    rates = Rates()
    for second in range(40):
        rates = rates.with_totals([replace(at(10 * second), figures={})], second)
        if second % 12 == 0:
            rates = rates.with_figures([at(10 * second)], second)
        if second >= 12:
            assert rates.lately("m")[1].per_s == pytest.approx(10)
        assert second == 0 or rates.of("m") == pytest.approx(10)
    assert [one.at_s for one in rates.told] == [24, 36]
