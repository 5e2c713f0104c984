"""The control room changes traffic without flipping units, waits for gateways, and says why it refuses."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.choose import Reason, drawn
from router.epoch import Head
from router.policy import WHOLE, Arm, Policy
from router.request_id import KeyRing, RequestId
from serving.control.errors import Conflict, Unacceptable, Unknown
from serving.control.fake_store import FakeStore
from serving.control.publishing import Answer
from serving.control.service import (
    Acknowledged,
    Changed,
    ControlService,
    PoolView,
    Wanted,
    acknowledged,
    declared_in,
    next_policy,
)
from serving.control.store import connect
from serving.control.valkey import EmbeddedValkey
from serving.endpoint import Endpoint
from serving.leases import Applied, GatewayLease
from serving.settings import Settings
from tests.contracts.conftest import Bench
from tests.valkey import Gateway

DECLARED = {"digits": {1: "pool", 2: "pool", 3: "static"}}
UNITS = [b"unit-%d" % n for n in range(4_000)]


def endpoint(version: int, model: str = "digits", port: int = 9000) -> Endpoint:
    """Where a version answers."""
    return Endpoint(host="127.0.0.1", http_port=port + version, grpc_port=0, model=model, version=version)


def lease(name: str, head: Head | None = None, **more: object) -> GatewayLease:
    """What a gateway says that runs this head."""
    epoch, digest = (head.epoch, head.digest) if head else (0, "")
    return GatewayLease(name, "boot", 7, "h", 8000, epoch, digest, **more)  # type: ignore[arg-type]


@pytest.fixture
async def bench() -> Bench:
    """A store in memory with an endpoint for versions 1 and 2."""
    fake = FakeStore()
    for version in (1, 2):
        await fake.hold(endpoint(version), 60)
    return Bench(fake, fake)


@pytest.fixture
async def service(bench: Bench) -> ControlService:
    """A service that knows one model, which has its first policy: everything to version 1."""
    service = ControlService(bench.store, DECLARED)
    await service.ensure_policy("digits", {1: WHOLE}, 1, "sluice-unit")
    return service


async def put(service: ControlService, shares: dict[int, int], expected: int | None = None, **more: object) -> Changed:
    """A change of the arms of digits."""
    options: dict[str, object] = {"who": "ada", "wait_s": 0.0, **more}
    return await service.set_policy("digits", Wanted(1, shares), expected, **options)  # type: ignore[arg-type]


# Which policy follows.


def test_the_first_policy_draws_a_salt_and_the_next_keeps_it() -> None:
    """Two models deal out their units differently, and no change deals them out anew."""
    first, other = next_policy(None, Wanted(1)), next_policy(None, Wanted(1))
    assert first.salt
    assert first.salt != other.salt
    assert next_policy(first, Wanted(1, {2: 500_000})).salt == first.salt


def test_what_is_left_out_stays() -> None:
    """A change of shares does not undo the other choices of the policy."""
    before = Policy(1, salt="s", unit_header="user", allow_override=True, repeatable=False)
    after = next_policy(before, Wanted(1, {2: 1}))
    assert (after.unit_header, after.allow_override, after.repeatable) == ("user", True, False)
    turned = next_policy(before, Wanted(1, {2: 1}, unit_header="device", allow_override=False, repeatable=True))
    assert (turned.unit_header, turned.allow_override, turned.repeatable) == ("device", False, True)


def test_stable_among_the_arms_is_refused() -> None:
    """What stable gets follows from the others, so that it cannot contradict them."""
    with pytest.raises(Unacceptable, match="version 1 is stable"):
        next_policy(Policy(1), Wanted(1, {1: 500_000}))


def test_promotion_moves_only_the_units_that_stable_had() -> None:
    """When the candidate becomes stable, nobody who had it loses it."""
    before = Policy(1, (Arm(2, 100_000),), salt="s")
    after = next_policy(before, Wanted(2))
    assert after.arms == ()
    assert {drawn(after, unit).version for unit in UNITS} == {2}


def test_stable_and_arm_change_places_without_moving_a_unit() -> None:
    """Naming the other version stable, at the same shares, changes nobody's answer."""
    before = Policy(1, (Arm(2, 300_000),), salt="s")
    after = next_policy(before, Wanted(2, {1: 700_000}))
    assert after.shares() == before.shares()
    assert [drawn(after, unit).version for unit in UNITS] == [drawn(before, unit).version for unit in UNITS]


@given(st.integers(0, WHOLE), st.integers(0, WHOLE))
def test_the_old_stable_version_is_given_only_units_that_it_had(first: int, then: int) -> None:
    """After a change of stable, units move from the old version to the new one only."""
    before = Policy(1, salt="s").with_shares({2: first})
    after = next_policy(before, Wanted(2, {1: min(then, WHOLE - first)}))
    for unit in UNITS[:200]:
        if drawn(after, unit).version == 1:
            assert drawn(before, unit).version == 1


@given(st.integers(0, 400_000), st.integers(0, 400_000), st.sampled_from([1, 2, 3]), st.integers(0, 300_000))
def test_any_change_of_stable_gives_a_policy_with_the_shares_asked_for(
    two: int, three: int, stable: int, share: int
) -> None:
    """Whoever becomes stable, the arms get exactly what was asked."""
    before = Policy(1, salt="s").with_shares({2: two, 3: three})
    wanted = {version: share for version in (1, 2, 3) if version != stable}
    after = next_policy(before, Wanted(stable, wanted))
    assert after.shares() == {stable: WHOLE - 2 * share, **wanted}


# Publishing.


async def test_the_first_policy_is_set_once(service: ControlService, bench: Bench) -> None:
    """Settings say how a model begins; they overwrite nothing that an operator has set since."""
    await put(service, {2: 500_000}, 1)
    assert await service.ensure_policy("digits", {1: WHOLE}, 1, "sluice-unit") is None
    assert (await service.current("digits")).policy.shares() == {1: 500_000, 2: 500_000}
    made = await service.ensure_policy("fraud", {1: 250_000, 2: 750_000}, 1, "user")
    assert made is not None
    assert (made.policy.shares(), made.policy.unit_header) == ({1: 250_000, 2: 750_000}, "user")


async def test_a_change_says_what_runs_now(service: ControlService) -> None:
    """The answer has the new revision, the epoch, the policy and whether it is on disk."""
    changed = await put(service, {2: 250_000}, 1)
    assert (changed.current.revision, changed.current.epoch, changed.durable) == (2, 2, True)
    assert changed.current == await service.current("digits")


async def test_a_late_change_is_refused_with_what_is_there(service: ControlService) -> None:
    """Whoever began with an old revision learns what runs now, before anything else is found fault with."""
    await put(service, {2: 250_000}, 1)
    with pytest.raises(Conflict) as refused:
        await put(service, {77: 1}, 1)
    assert refused.value.revision == 2
    assert refused.value.policy == (await service.current("digits")).policy


async def test_changes_without_a_revision_all_take_place(service: ControlService) -> None:
    """If-Match: * means whatever is there, computed anew each time: none is lost, none fails."""
    await asyncio.gather(*(put(service, {2: n}) for n in range(10)))
    assert (await service.current("digits")).revision == 11


async def test_an_unknown_model_is_named_with_those_that_there_are(service: ControlService) -> None:
    """A typing error in a model's name is answered with the names."""
    for asked in (service.current("digit"), service.set_policy("digit", Wanted(1), None, who="ada")):
        with pytest.raises(Unknown, match="'digit'") as refused:
            await asked
        assert "digits" in refused.value.hint


async def test_an_unknown_version_is_named_with_those_that_there_are(service: ControlService) -> None:
    """A typing error in a version is answered with the versions, force or not."""
    for force in (False, True):
        with pytest.raises(Unknown, match="no version 22") as refused:
            await put(service, {22: 1}, force=force)
        assert "1, 2, 3" in refused.value.hint


async def test_a_share_for_a_version_that_nobody_serves_is_refused(service: ControlService) -> None:
    """Version 3 is declared and has no endpoint: a share of it would be failures; force insists, and 0 is no share."""
    with pytest.raises(Unacceptable, match="Version 3 of digits has no endpoint"):
        await put(service, {3: 1})
    assert (await put(service, {3: 0})).current.policy.shares()[3] == 0
    assert (await put(service, {3: 1}, force=True)).current.policy.shares()[3] == 1


async def test_stable_must_be_served_unless_the_arms_take_all(service: ControlService, bench: Bench) -> None:
    """The rule is about shares, not about roles."""
    await bench.store.drop(endpoint(1))
    with pytest.raises(Unacceptable, match="Version 1"):
        await put(service, {2: WHOLE - 1})
    assert (await put(service, {2: WHOLE})).current.policy.shares() == {1: 0, 2: WHOLE}


async def test_a_model_that_only_has_an_endpoint_may_get_its_first_policy(
    service: ControlService, bench: Bench
) -> None:
    """A Triton that registers itself needs no entry in the settings."""
    await bench.store.hold(endpoint(4, "fraud"), 60)
    with pytest.raises(Unknown, match="no policy yet"):
        await service.current("fraud")
    changed = await service.set_policy("fraud", Wanted(4), 0, who="ada", wait_s=0)
    assert changed.current.revision == 1


# Waiting for gateways.


def test_acknowledgement_is_by_digest_or_by_a_later_epoch() -> None:
    """Another digest of the same epoch is none; a later epoch is one; a lapsed lease is named as such."""
    head = Head(5, "d5", "d4")
    answer = Answer(done=True, head=head, members=frozenset({"same", "later", "fork", "older", "gone"}))
    alive = {
        "same": Applied(5, "d5", 0),
        "later": Applied(6, "d6", 0),
        "fork": Applied(5, "other", 0),
        "older": Applied(4, "d4", 0),
        "newcomer": Applied(4, "d4", 0),
    }
    assert acknowledged(answer, alive) == Acknowledged(5, 2, ("gone",), ("fork", "older"))


async def test_a_change_waits_until_every_gateway_runs_it(service: ControlService, bench: Bench) -> None:
    """The answer comes as soon as the last member says so, and counts them."""
    for name in ("g1", "g2"):
        bench.gateway.gateway_says(lease(name), 60)
    change = asyncio.create_task(put(service, {2: 1}, 1, wait_s=10.0))
    await asyncio.sleep(0.05)
    head = await bench.store.state()
    for name in ("g1", "g2"):
        assert not change.done()
        bench.gateway.gateway_says(lease(name, head.head), 60)
        await asyncio.sleep(0.05)
    assert (await change).acknowledged == Acknowledged(2, 2, (), ())
    assert service.propagated.total_s >= 0.1


async def test_a_silent_gateway_is_waited_for_no_longer_than_was_asked(service: ControlService, bench: Bench) -> None:
    """The change stands, and who had not said so is named."""
    bench.gateway.gateway_says(lease("slow"), 60)
    before = service.propagated
    changed = await put(service, {2: 1}, 1, wait_s=0.05)
    assert changed.acknowledged == Acknowledged(1, 0, (), ("slow",))
    assert service.propagated == before
    assert changed.took_s >= 0.05


async def test_a_gateway_that_dies_meanwhile_is_not_waited_for(service: ControlService, bench: Bench) -> None:
    """Its lease lapses, which is an answer."""
    bench.gateway.gateway_says(lease("dying"), 0.05)
    changed = await put(service, {2: 1}, 1, wait_s=10.0)
    assert changed.acknowledged == Acknowledged(1, 0, ("dying",), ())


async def test_a_store_that_fails_after_the_write_does_not_unsay_it(
    service: ControlService, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change took place; that nobody could be asked about it is no failure of the change."""
    assert isinstance(bench.store, FakeStore)
    bench.store.gateway_says(lease("g1"), 60)
    fake, swap = bench.store, bench.store.swap

    async def swap_and_die(publication: object) -> Answer:
        answer = await swap(publication)  # type: ignore[arg-type]
        fake.down = True
        return answer

    monkeypatch.setattr(fake, "swap", swap_and_die)
    changed = await put(service, {2: 1}, 1, wait_s=0.05)
    assert (changed.current.revision, changed.acknowledged.waiting) == (2, ("g1",))


# Telling.


async def test_explain_tells_a_units_version_in_words(service: ControlService) -> None:
    """By the unit itself, or by the header that names it; the words are the router's."""
    await put(service, {2: 500_000})
    policy = (await service.current("digits")).policy
    choice = drawn(policy, b"ada")
    for told in (
        await service.explain("digits", "ada", {}),
        await service.explain("digits", None, {"sluice-unit": "ada"}),
    ):
        assert (told.version, told.bucket, told.reason) == (choice.version, choice.bucket, choice.reason.value)
        assert f"{choice.bucket:,}" in told.words


async def test_explain_without_a_unit_tells_the_odds(service: ControlService) -> None:
    """An anonymous request is drawn at random, so no version is promised."""
    await put(service, {2: 250_000})
    told = await service.explain("digits", None, {})
    assert (told.version, told.reason, told.bucket) == (None, "random", None)
    assert "version 1 with 75 %, version 2 with 25 %" in told.words


async def test_explain_follows_an_override_where_the_policy_does(service: ControlService) -> None:
    """With the policy's leave the header decides, without it the answer says that it was ignored."""
    ignored = await service.explain("digits", "ada", {"sluice-version": "2"})
    assert (ignored.version, "does not let" in ignored.words) == (1, True)
    await service.set_policy("digits", Wanted(1, allow_override=True), None, who="ada", wait_s=0)
    assert (await service.explain("digits", None, {"sluice-version": "2"})).version == 2
    with pytest.raises(Unacceptable, match="no version"):
        await service.explain("digits", "ada", {"sluice-version": "two"})


async def test_a_request_id_is_read_even_after_the_keys_were_rotated(service: ControlService, bench: Bench) -> None:
    """What an old key minted still names its model; what nobody here minted is unknown."""
    keys = await bench.store.ensure_keys()
    key = KeyRing(keys.secrets, keys.current).current
    text = key.mint(RequestId(1, key.model_hash("digits"), 1, 2, 3, 1_700_000_000, 4, Reason.FALLBACK))
    await bench.store.rotate_keys()
    decoded = await service.decoded(text)
    assert (decoded.model, decoded.said.assigned, decoded.said.answered) == ("digits", 1, 2)
    for wrong in ("", "abc", text[:-1] + ("A" if text[-1] != "A" else "B")):
        with pytest.raises(Unknown):
            await service.decoded(wrong)


async def test_a_request_id_of_a_model_that_is_gone_is_read_without_its_name(
    service: ControlService, bench: Bench
) -> None:
    """The hash of a name is all that travels; a model that nobody knows has none."""
    keys = await bench.store.ensure_keys()
    key = KeyRing(keys.secrets, keys.current).current
    text = key.mint(RequestId(1, key.model_hash("gone"), 1, 1, 3, 1_700_000_000, 4, Reason.STABLE))
    assert (await service.decoded(text)).model is None


async def test_the_status_is_everything_at_a_glance(service: ControlService, bench: Bench) -> None:
    """Head, gateways, endpoints, models with versions that nobody serves yet, and pools."""
    service.pools = (PoolView("digits", 1, "RUNNING", digest="abc"),)
    bench.gateway.gateway_says(lease("g1", requests={"digits/1": 4}), 60)
    status = await service.status()
    assert (status.reachable, status.head.epoch, status.pools) == (True, 1, service.pools)
    assert [one.id for one in status.gateways] == ["g1"]
    [model] = status.models
    assert [(one.version, one.ready, one.source) for one in model.versions] == [
        (1, 1, "pool"),
        (2, 1, "pool"),
        (3, 0, "static"),
    ]


async def test_the_status_answers_while_the_store_is_away(service: ControlService, bench: Bench) -> None:
    """When something is wrong is when one looks at it."""
    assert isinstance(bench.store, FakeStore)
    bench.store.down = True
    status = await service.status()
    assert (status.reachable, status.models, len(status.warnings)) == (False, (), 1)


def test_what_is_declared_says_who_starts_it() -> None:
    """A version with a path is a pool of ours, one with endpoints is somebody else's."""
    settings = Settings.model_validate(
        {
            "models": [
                {
                    "name": "digits",
                    "versions": [{"version": 1, "path": "m/1"}, {"version": 2, "endpoints": ["127.0.0.1:9000"]}],
                }
            ]
        }
    )
    assert declared_in(settings.models) == {"digits": {1: "pool", 2: "static"}}


@pytest.fixture
async def real(valkey: EmbeddedValkey) -> AsyncIterator[Bench]:
    """The same on a real server."""
    store = connect(valkey.url, f"test-{secrets.token_hex(6)}")
    gateway = Gateway(valkey.url, store.keys)
    for version in (1, 2):
        await store.hold(endpoint(version), 60)
    yield Bench(store, gateway)
    gateway.close()
    await store.close()


async def test_of_twenty_operators_with_one_revision_one_wins_on_a_real_server(real: Bench) -> None:
    """Through all layers: one change, nineteen conflicts that name its revision."""
    service = ControlService(real.store, DECLARED)
    await service.ensure_policy("digits", {1: WHOLE}, 1, "sluice-unit")
    said = await asyncio.gather(*(put(service, {2: n}, 1) for n in range(20)), return_exceptions=True)
    assert sum(isinstance(one, Changed) for one in said) == 1
    assert [one.revision for one in said if isinstance(one, Conflict)] == [2] * 19
