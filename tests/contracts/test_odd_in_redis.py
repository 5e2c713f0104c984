"""Bytes in Redis that nobody of ours wrote: they hide nothing else, and whoever asks gets an answer."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from drift.keys import DriftKeys
from registry.baselines import Baselines
from registry.errors import NotFound
from registry.store import Store as RegistryStore
from registry.store import connect as connect_registry
from serving.control.api.drift_shapes import status_out
from serving.control.store import Store, connect
from serving.control.valkey import EmbeddedValkey
from tests.contracts.test_baselines_in_store import kept, registered
from tests.registry.made import DIGITS
from tests.serving.drifting import FINDING, STATUS


@pytest.fixture
async def store(valkey: EmbeddedValkey) -> AsyncIterator[Store]:
    """A control room's, in a namespace of its own."""
    found = connect(valkey.url, f"test-{secrets.token_hex(6)}")
    yield found
    await found.close()


@pytest.fixture
async def registry(valkey: EmbeddedValkey) -> AsyncIterator[RegistryStore]:
    """A registry's."""
    found = connect_registry(valkey.url, f"test-{secrets.token_hex(6)}")
    yield found
    await found.close()


ODD_MEMBERS: Sequence[Mapping[str, Any]] = (
    {"model": 5}, {"model": "other"}, {"version": "2"}, {"version": True}, {"rows": "many"}, {"rows": 10**30},
    {"told_s": "now"}, {"told_s": 10**400}, {"sentence": None}, {"samples": {"lost": "some"}}, {"episode": []},
    {"layers": [{"layer": "x"}]}, {"under_way": 7}, {"learned": "no"}, {"baseline": {"a": 1}},
)  # fmt: skip


@pytest.mark.parametrize("odd", ODD_MEMBERS, ids=str)
async def test_a_status_with_an_odd_member_is_said_to_be_odd(store: Store, odd: Mapping[str, Any]) -> None:
    """A sidecar of strangers may write anything: whoever asks how versions are watched gets an answer that holds."""
    keys = DriftKeys(store.keys.namespace)
    said = json.dumps({**STATUS.plain(), "version": 7, **odd})
    for field in ("digits/7", "digits", "/", "digits/x", "digits/0", f"digits/{'9' * 5_000}", b"\xff/8"):
        await store._redis.hset(keys.status, field, said)
    await store._redis.hset(keys.status, "digits/9", "[" * 100_000)
    await store._redis.hset(keys.status, "digits/2", json.dumps(STATUS.plain()))
    found = await store.drift_statuses()
    assert len(found) == 9
    assert [one.sentence for one in found if one == STATUS] == [STATUS.sentence]
    assert all("cannot be read" in one.sentence for one in found if one != STATUS)
    shown = [status_out(one).model_dump_json() for one in found]
    assert len(shown) == 9


@pytest.mark.parametrize("odd", [b"", b"\xff", b"dead 1", b"gone", b"gone x"])
async def test_a_state_that_nobody_can_read_is_none_of_a_deleted_version(
    registry: RegistryStore, odd: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts as there, said once; so nothing goes by mistake, and the others' numbers are known."""
    for value in (1, 2):
        await registered(registry, value)
    states = registry.keys.of(DIGITS, "states")
    await registry._redis.hset(states, mapping={"2": odd, "3": "gone 4", "0": "gone 5", "x": "gone 6"})
    baselines = Baselines(registry)
    for _ in range(2):
        assert await baselines.numbers("digits") == (frozenset({1, 2}), frozenset({3}))
    assert caplog.text.count("the state of digits/2 cannot be read") == 1
    assert caplog.text.count("it is no version's number") == 2


@pytest.mark.parametrize(
    "odd",
    [{"model": 5}, {"span": {"first_s": 1, "last_s": 2, "rows": "x"}}, {"episode": None}, {"breaks": [{"how": 1}]}],
)
async def test_a_finding_with_an_odd_member_is_none(store: Store, odd: Mapping[str, Any]) -> None:
    """It is passed over, as one that is no finding at all."""
    said = json.dumps({**FINDING.plain(), **odd})
    await store._redis.xadd(DriftKeys(store.keys.namespace).findings, {"f": said})
    [found] = await store.drift_findings(10)
    assert found.finding is None


_ODD = [b"", b"no JSON", b"[1]", b"{}", b'{"model": 5}', b"[" * 100_000, b"\xff", b'{"learned": 7}']


@pytest.mark.parametrize("odd", _ODD, ids=lambda one: repr(one[:20]))
async def test_a_record_that_nobody_can_read_hides_no_other(
    registry: RegistryStore, odd: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out, said once, and can be forgotten or brought again; so can one that is another version's."""
    for value in (1, 2, 3):
        await registered(registry, value)
    good = await kept(registry, b"one")
    elsewhere = await kept(registry, b"three", 3)
    fields = registry.keys.baselines
    await registry._redis.hset(fields, "digits/2", odd)
    await registry._redis.hset(fields, "digits/3", good.encode())
    baselines = Baselines(registry)
    for _ in range(2):
        assert list(await baselines.all()) == [good]
    assert caplog.text.count("baseline of digits/2 cannot be read, bring it again") == 1
    assert "digits/3 cannot be read, bring it again: it is one of digits version 1" in caplog.text
    brought = await kept(registry, b"two", 2)
    await kept(registry, b"three again", 3)
    await baselines.drop("digits", 3, who="ada")
    assert list(await baselines.all()) == [good, brought]
    assert elsewhere.digest != brought.digest
    await registry._redis.hset(fields, "digits/2", odd)
    await baselines.drop("digits", 2, who="ada")
    assert list(await baselines.all()) == [good]
    with pytest.raises(NotFound):
        await baselines.drop("digits", 2, who="ada")
