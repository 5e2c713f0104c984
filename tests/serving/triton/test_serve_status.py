"""What Serve says of the pools is read by name, and its tracebacks become our sentences."""

from typing import Any

import pytest

from serving.pools import PoolKey, PoolState
from serving.triton.serve_status import is_pool, name_of, states_in

KEY = PoolKey("di-g.its", 12, "0123456789ab")
TRACEBACK = """The deployment failed to start 3 times in a row. This may be due to a problem with its constructor.
\x1b[36mray::ServeReplica:sluice-pool:m:1:abc:triton.initialize_and_get_metadata()\x1b[39m (pid=1, ip=127.0.0.1)
  File "pool.py", line 1, in __init__
serving.triton.version.ArtifactRefused: The artifact folder of m version 1, /a, is missing.
"""


def details(name: str, message: str = "", replicas: tuple[str, ...] = (), wanted: int = 1) -> dict[str, Any]:
    """Serve's details of one application."""
    deployment = {
        "message": message,
        "target_num_replicas": wanted,
        "replicas": [{"state": state} for state in replicas],
    }
    return {"applications": {name: {"status": "DEPLOYING", "message": "all", "deployments": {"triton": deployment}}}}


def test_a_pools_application_is_named_after_its_key() -> None:
    """The name says which pool it is, and the pool is found by it."""
    name = name_of(KEY)
    assert name == "sluice-pool:di-g.its:12:0123456789ab"
    assert is_pool(name)
    assert set(states_in(details(name))) == {KEY}


@pytest.mark.parametrize("name", ["sluice", "other:1:abc", "sluice-pool:m:1", "sluice-pool:m:x:abc"])
def test_other_applications_are_no_pools(name: str) -> None:
    """Whatever else runs on Serve is passed over."""
    assert states_in(details(name)) == {}


def test_replicas_that_run_are_counted() -> None:
    """Those that start or stop are not, and how many there are to be is Serve's target."""
    found = states_in(details(name_of(KEY), "upscaling", ("RUNNING", "STARTING", "RUNNING", "STOPPING"), wanted=3))
    assert found == {KEY: PoolState(KEY, "DEPLOYING", "upscaling", replicas_running=2, replicas_wanted=3)}


def test_an_application_without_a_deployment_has_its_own_message() -> None:
    """As it is while Serve has only heard of it."""
    said = {"applications": {name_of(KEY): {"status": "DEPLOYING", "message": "all", "deployments": {}}}}
    assert states_in(said) == {KEY: PoolState(KEY, "DEPLOYING", "all")}
    assert states_in({}) == {}


def test_our_own_error_is_told_in_its_sentence() -> None:
    """Of a traceback only what we said is left."""
    [state] = states_in(details(name_of(KEY), TRACEBACK)).values()
    assert state.message == "The artifact folder of m version 1, /a, is missing."
