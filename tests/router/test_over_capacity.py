"""What a policy says of changes that are too much for a version: written only where it is not the default."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from router.codec import decode_policy, encode_policy, policy_as_dict, policy_from_dict
from router.errors import PolicyError
from router.policy import OverCapacity, Policy

POLICY = Policy(stable=1, salt="s")
BYTES = (
    b'{"allow_override":false,"arms":[],"reader":1,"repeatable":true,"salt":"s","stable":1,"unit_header":"sluice-unit"}'
)


def test_a_policy_that_says_nothing_of_it_has_the_bytes_that_it_always_had() -> None:
    """Or every digest of every installation would be another one."""
    assert encode_policy(POLICY) == BYTES
    assert decode_policy(BYTES).over_capacity is OverCapacity.REFUSE


@pytest.mark.parametrize("over", [OverCapacity.CLAMP, OverCapacity.IGNORE])
def test_what_it_says_is_kept(over: OverCapacity) -> None:
    """Through bytes and plain values, and through a change of its shares."""
    policy = replace(POLICY, over_capacity=over)
    assert decode_policy(encode_policy(policy)) == policy
    assert policy_from_dict(policy_as_dict(policy)) == policy
    assert policy.with_shares({2: 10}).over_capacity is over
    assert b'"reader":2' in encode_policy(policy)


@pytest.mark.parametrize("value", ["sometimes", None, 1, [], True])
def test_anything_else_is_refused(value: Any) -> None:  # noqa: ANN401 - whatever JSON may hold
    """A policy half understood is none."""
    with pytest.raises(PolicyError):
        policy_from_dict({**policy_as_dict(POLICY), "over_capacity": value})
    with pytest.raises(PolicyError):
        replace(POLICY, over_capacity=value)
