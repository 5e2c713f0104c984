"""A pool's digest changes with what its servers are started with, and with nothing else."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.endpoint import Endpoint
from serving.pools import HOW_MANY, PoolKey, PoolOptions, PoolSpec, PoolState

SPEC = PoolSpec("m", 3, PoolOptions(max_batch_size=8), artifact="a" * 64, kind="onnx", signature="{}", example="{}")


@given(st.integers(1, 9), st.integers(0, 9), st.one_of(st.none(), st.floats(0.1, 100)), st.floats(0, 1e6))
def test_how_many_servers_there_are_is_no_part_of_the_digest(
    replicas: int, more: int, target: float | None, keep_warm_s: float
) -> None:
    """A pool that is scaled stays the same pool."""
    how_many = {
        "replicas": replicas,
        "max_replicas": replicas + more,
        "target_in_flight": target,
        "keep_warm_s": keep_warm_s,
        "carries_rps": target,
    }
    assert how_many.keys() == HOW_MANY
    options = PoolOptions.model_validate({"max_batch_size": 8, **how_many})
    assert replace(SPEC, options=options).key_with_digest == SPEC.key_with_digest


@pytest.mark.parametrize(
    "change",
    [
        {"artifact": "b" * 64},
        {"kind": "triton"},
        {"signature": "[]"},
        {"example": ""},
        {"model": "n"},
        {"version": 4},
        {"options": PoolOptions(max_batch_size=9)},
        {"options": PoolOptions()},
        {"options": PoolOptions(max_batch_size=8, device="gpu")},
        {"options": PoolOptions(max_batch_size=8, rate_limiter={"r": 1})},
        {"options": PoolOptions(max_batch_size=8, instance_count=1)},
    ],
    ids=",".join,
)
def test_whatever_a_server_is_started_with_is_part_of_the_digest(change: dict[str, Any]) -> None:
    """An option that is said counts also where it is as it would be anyway: it may override a directory's own."""
    assert replace(SPEC, **change).digest != SPEC.digest


def test_a_pool_survives_json_with_its_digest() -> None:
    """What was kept in the store or told to a replica is the same pool."""
    again = PoolSpec.from_plain(json.loads(json.dumps(SPEC.plain())))
    assert again == SPEC
    assert again.digest == SPEC.digest
    assert len(SPEC.digest) == 12
    assert int(SPEC.digest, 16) >= 0


def test_no_capacity_is_more_than_a_lease_can_say() -> None:
    """Options that work on more at once than that are options all the same."""
    options = PoolOptions(max_batch_size=65_536, instance_count=64)
    assert Endpoint("h", 1, 1, "m", 3, capacity=options.capacity).capacity == 65_535
    assert PoolOptions(max_batch_size=0, instance_count=3).capacity == 3


def test_a_pools_key_names_it() -> None:
    """Model, version and digest; a state is of a model's version."""
    assert SPEC.key_with_digest == PoolKey("m", 3, SPEC.digest)
    state = PoolState(SPEC.key_with_digest, "RUNNING")
    assert (state.model, state.version) == SPEC.key
