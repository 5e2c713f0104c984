"""What the first releases wrote is read today: a stored policy, snapshot and rollout of the oldest form there was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from router.choose import drawn
from router.codec import decode_policy, decode_snapshot, digest_of, encode_policy, encode_snapshot
from router.phases import Phase
from router.policy import Arm, OverCapacity, Policy, Role
from router.rollout import policy_of
from router.rollout_form import rollout_as_dict, rollout_from

OLDEST: dict[str, Any] = json.loads((Path(__file__).parent / "oldest.json").read_text())
POLICY, SNAPSHOT = OLDEST["policy"].encode(), OLDEST["snapshot"].encode()


def test_the_oldest_policy_means_what_it_meant() -> None:
    """And keeps its bytes, and with them its name: who stored it finds it again."""
    policy = decode_policy(POLICY)
    assert policy == Policy(1, (Arm(2, 250_000, 0, Role.CANARY), Arm(3, 100_000, 500_000)), salt="digits-2025")
    assert policy.over_capacity is OverCapacity.REFUSE
    assert encode_policy(policy) == POLICY
    versions = [drawn(policy, b"unit-%d" % number).version for number in range(12)]
    assert versions == [1, 1, 3, 1, 1, 1, 3, 1, 3, 2, 1, 1], "as the first release dealt them out"


def test_the_oldest_snapshot_means_what_it_meant() -> None:
    """Its policy is the one above, nothing of it is staged, and it keeps its bytes."""
    snapshot = decode_snapshot(SNAPSHOT)
    assert (snapshot.epoch, snapshot.models["digits"].digest, dict(snapshot.staged)) == (7, digest_of(POLICY), {})
    assert encode_snapshot(snapshot) == SNAPSHOT


def test_the_oldest_rollout_goes_on_as_it_was() -> None:
    """It gives what it gave, by the salt it drew by, and says what it said and whatever was added since."""
    rollout = rollout_from(OLDEST["rollout"])
    assert (rollout.phase, rollout.place, rollout.carried) == (Phase.RUNNING, "running, stage '1 %'", {})
    assert policy_of(rollout) == Policy(1, (Arm(2, 10_000, 0, Role.CANARY),), salt="digits-2025")
    said = json.loads(json.dumps(rollout_as_dict(rollout)))
    assert {name: said[name] for name in OLDEST["rollout"]} == OLDEST["rollout"]
