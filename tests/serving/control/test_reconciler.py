"""What is to be done: from any beginning it ends as wanted, new comes before old, and traffic keeps its servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from serving.control.reconciler import DELETING, DEPLOY_FAILED, Actions, Seen, reconcile
from serving.control.wishes import ModelVersion, Touched
from serving.pools import PoolKey, PoolOptions, PoolSpec, PoolState

NOW_MS = 10_000_000
STATES = ("DEPLOYING", "RUNNING", "UNHEALTHY", DEPLOY_FAILED, DELETING)


def spec(version: int = 1, batch: int = 64, replicas: int = 1, keep_warm_s: float = 600.0) -> PoolSpec:
    """A pool; another batch size makes another server of it."""
    options = PoolOptions(max_batch_size=batch, replicas=replicas, keep_warm_s=keep_warm_s)
    return PoolSpec("m", version, options, path="p")


def running(one: PoolSpec, count: int = 1, wanted: int | None = None) -> tuple[PoolKey, PoolState]:
    """That pool with so many replicas."""
    key = one.key_with_digest
    return key, PoolState(key, "RUNNING", replicas_running=count, replicas_wanted=count if wanted is None else wanted)


def at(ms: int = NOW_MS, **versions: int) -> Touched:
    """Times of versions, by names like v1."""
    return Touched(ms, {("m", int(name[1:])): when for name, when in versions.items()})


# In words.


def test_what_is_wanted_and_not_there_is_started() -> None:
    """With its replicas, or with as many as its load asks for."""
    wanted = {("m", 1): spec(replicas=2), ("m", 2): spec(2)}
    actions = reconcile(Seen(wanted, {}, replicas={("m", 2): 3}))
    assert actions.deploy == ((wanted["m", 1], 2), (wanted["m", 2], 3))
    assert not actions.remove


def test_more_replicas_are_scaled_in_place() -> None:
    """Nothing is taken away for it."""
    wanted = spec(replicas=3)
    actions = reconcile(Seen({wanted.key: wanted}, dict([running(spec())])))
    assert (actions.deploy, dict(actions.remove)) == (((wanted, 3),), {})


def test_other_options_come_up_beside_the_old_ones() -> None:
    """The old servers go when as many of the new ones are ready, and hold leases too."""
    old, new = spec(), spec(batch=8)
    both = dict([running(old, 2), running(new, 1, wanted=2)])
    wanted = {new.key: replace(new, options=new.options.model_copy(update={"replicas": 2}))}
    assert not reconcile(Seen(wanted, both, {("m", 1): 3}, frozenset({("m", 1)}))).remove
    both |= [running(new, 2)]
    assert not reconcile(Seen(wanted, both, {("m", 1): 3}, frozenset({("m", 1)}))).remove
    assert set(reconcile(Seen(wanted, both, {("m", 1): 4}, frozenset({("m", 1)}))).remove) == {old.key_with_digest}


def test_a_version_that_nothing_routes_to_sleeps_after_its_time() -> None:
    """Until then it is kept warm; whatever routes to it or brings it about wakes it."""
    one = spec(keep_warm_s=60)
    seen = Seen({one.key: one}, dict([running(one)]), touched=at(v1=NOW_MS - 59_000))
    assert reconcile(seen).none
    late = replace(seen, touched=at(v1=NOW_MS - 60_000))
    assert set(reconcile(late).remove) == {one.key_with_digest}
    assert reconcile(late).asleep == {one.key}
    assert reconcile(replace(late, routed=frozenset({one.key}))).none
    assert reconcile(replace(late, states={}, held=frozenset({one.key}))).deploy == ((one, 1),)
    assert reconcile(replace(late, states={})).none


def test_a_version_that_was_never_seen_is_not_asleep() -> None:
    """Its time begins now."""
    assert reconcile(Seen({("m", 1): spec(keep_warm_s=0.0)}, {})).deploy


def test_what_nobody_wants_goes_unless_traffic_goes_there() -> None:
    """A wish that was lost must not cost requests."""
    states = dict([running(spec()), running(spec(2))])
    actions = reconcile(Seen({}, states, routed=frozenset({("m", 2)})))
    assert set(actions.remove) == {spec().key_with_digest}
    assert actions.strays == {spec(2).key_with_digest}


def test_a_store_that_may_have_forgotten_costs_no_server() -> None:
    """Starting goes on."""
    actions = reconcile(Seen({("m", 2): spec(2)}, dict([running(spec())]), sure=False))
    assert (len(actions.deploy), dict(actions.remove)) == (1, {})


def test_a_failed_pool_is_started_anew_when_it_is_due() -> None:
    """Not while an operation waits for it, which is to hear of it; and not while it has replicas."""
    one = spec()
    key = one.key_with_digest
    failed = {key: PoolState(key, DEPLOY_FAILED, "no", 0, 1)}
    seen = Seen({one.key: one}, failed, touched=at(v1=NOW_MS))
    assert reconcile(seen).none
    due = replace(seen, retried=frozenset({key}))
    assert set(reconcile(due).remove) == {key}
    assert reconcile(replace(due, held=frozenset({one.key}))).none
    assert reconcile(replace(due, states={key: replace(failed[key], replicas_running=1)})).none


def test_a_place_that_was_never_taken_is_free_at_once() -> None:
    """An old pool that failed or never came up is not waited for; one with traffic that only stumbles is."""
    old, new = spec(), spec(batch=8)
    starting = PoolState(old.key_with_digest, "DEPLOYING", "", 0, 1)
    seen = Seen({new.key: new}, {old.key_with_digest: starting}, touched=at(v1=NOW_MS))
    assert set(reconcile(seen).remove) == {old.key_with_digest}
    assert not reconcile(replace(seen, routed=frozenset({new.key}))).remove


# For all.


@st.composite
def scenes(draw: st.DrawFn) -> Seen:
    """Anything that may be there, in whatever state a killed control room left it."""
    every = [spec(version, batch, 1, warm) for version in (1, 2, 3) for batch, warm in ((64, 0.0), (8, 600.0))]
    wanted: dict[ModelVersion, PoolSpec] = {}
    counts: dict[ModelVersion, int] = {}
    for version in (1, 2, 3):
        if draw(st.booleans()):
            one = draw(st.sampled_from([each for each in every if each.version == version]))
            wanted[one.key] = one
            counts[one.key] = draw(st.integers(1, 3))
    states = {}
    for one in every:
        if draw(st.booleans()):
            key = one.key_with_digest
            state = draw(st.sampled_from(STATES))
            count = draw(st.integers(0, 3)) if state != DEPLOY_FAILED else 0
            states[key] = PoolState(key, state, "", count, draw(st.integers(max(1, count), 3)))
    versions = st.frozensets(st.sampled_from([("m", 1), ("m", 2), ("m", 3)]))
    times = {key: draw(st.sampled_from([0, NOW_MS])) for key in draw(versions)}
    routed = draw(versions)
    return Seen(wanted, states, _leases(states), routed, frozenset(), Touched(NOW_MS, times), counts)


def _leases(states: Mapping[PoolKey, PoolState]) -> dict[ModelVersion, int]:
    counts: dict[ModelVersion, int] = {}
    for key, state in states.items():
        if state.state != DELETING:
            counts[key[:2]] = counts.get(key[:2], 0) + state.replicas_running
    return counts


def carried_out(seen: Seen, actions: Actions, *, finished: bool) -> Seen:
    """What Serve makes of it: told only, or with all of it at its end."""
    states = dict(seen.states)
    for one, count in actions.deploy:
        key = one.key_with_digest
        there = states.get(key, PoolState(key, "DEPLOYING"))
        states[key] = replace(there, state="DEPLOYING", replicas_wanted=count)
    for key in actions.remove:
        states[key] = replace(states[key], state=DELETING)
    if finished:
        states = {
            key: replace(one, state="RUNNING", replicas_running=one.replicas_wanted)
            if one.state != DEPLOY_FAILED
            else one
            for key, one in states.items()
            if one.state != DELETING
        }
    retried = frozenset(key for key, one in states.items() if one.state == DEPLOY_FAILED)
    return replace(seen, states=states, ready=_leases(states), retried=retried)


@given(scenes(), st.lists(st.booleans(), max_size=6))
def test_it_converges_from_anything_and_then_does_nothing(seen: Seen, delays: list[bool]) -> None:
    """However slow Serve is: in the end there is exactly what is awake, as large as wanted, and what has traffic."""
    for finished in [*delays, *[True] * 8]:
        seen = carried_out(seen, reconcile(seen), finished=finished)
    last = reconcile(seen)
    assert last.none
    awake = {one.key_with_digest: one.key for one in seen.desired.values() if one.key not in last.asleep}
    assert seen.states.keys() == awake.keys() | last.strays
    for key, version in awake.items():
        assert seen.states[key].replicas_running == seen.replicas[version]
    assert last.asleep.isdisjoint(seen.routed)
    assert all(key[:2] in seen.routed for key in last.strays)


@given(scenes(), st.lists(st.booleans(), min_size=4, max_size=12))
def test_a_version_with_traffic_never_loses_its_last_server(seen: Seen, delays: list[bool]) -> None:
    """Whatever is taken away of a version that a policy routes to, as many others of it are ready, or all wanted."""
    for finished in delays:
        actions = reconcile(seen)
        for key in actions.remove:
            gone = seen.states[key]
            if key[:2] not in seen.routed or not gone.replicas_running:
                continue
            assert key[:2] in seen.desired
            new = seen.states[seen.desired[key[:2]].key_with_digest]
            assert new.key != key
            assert new.state != DELETING
            assert new.replicas_running >= min(gone.replicas_running, seen.replicas[key[:2]])
        seen = carried_out(seen, actions, finished=finished)


@given(scenes())
def test_old_servers_go_only_for_as_many_new_ones(seen: Seen) -> None:
    """With traffic or without."""
    for key in reconcile(seen).remove:
        if key[:2] in seen.desired and key[:2] not in reconcile(seen).asleep and seen.states[key].replicas_running:
            new = seen.states[seen.desired[key[:2]].key_with_digest]
            assert new.replicas_running >= min(seen.states[key].replicas_running, seen.replicas[key[:2]])


@given(scenes())
def test_what_is_told_twice_is_done_once(seen: Seen) -> None:
    """A control room that is killed after it has spoken to Serve says nothing else the next time."""
    actions = reconcile(seen)
    again = reconcile(carried_out(seen, actions, finished=False))
    assert again.deploy == ()
    assert set(again.remove).isdisjoint(actions.remove)
