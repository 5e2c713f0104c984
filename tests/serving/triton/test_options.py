"""What an operator sets overrides what a Triton directory says, nothing else does, and contradictions are told."""

from pathlib import Path
from typing import Any

import pytest

from serving.pools import PoolOptions
from serving.triton.layout import ArtifactRefused, ModelVersion, config_text
from tests.serving.triton.made import parsed, ready_artifact

BATCHING = """
backend: "python" max_batch_size: 16
dynamic_batching {
  preferred_batch_size: [8, 16] max_queue_delay_microseconds: 50 preserve_ordering: true
  priority_levels: 3 default_priority_level: 1
  default_queue_policy { max_queue_size: 7 timeout_action: DELAY default_timeout_microseconds: 9 }
  priority_queue_policy { key: 3 value { max_queue_size: 1 } }
}
instance_group [ { count: 2 kind: KIND_GPU gpus: [1] rate_limiter { resources [ { name: "R" count: 4 } ] } } ]
response_cache { enable: true }
"""
PLAIN = 'backend: "python" max_batch_size: 16'
SINGLE = 'backend: "python"'
SEQUENCES = 'backend: "python" max_batch_size: 16 sequence_batching { }'
ENSEMBLE = 'platform: "ensemble" max_batch_size: 16 ensemble_scheduling { }'
TWO_GROUPS = 'backend: "python" instance_group [ { count: 1 kind: KIND_CPU }, { count: 2 kind: KIND_GPU } ]'


def config_of(folder: Path, text: str, **options: object) -> Any:  # noqa: ANN401 - protobuf has no types
    """The configuration with which a directory is served where these options are set, and no others."""
    path = ready_artifact(folder / "artifact", text, 1)
    return parsed(config_text(ModelVersion("m", 1, path, PoolOptions.model_validate(options))))


def test_nothing_that_was_not_set_is_touched(tmp_path: Path) -> None:
    """A directory's configuration is its own but for name and version, whatever the defaults of the options are."""
    found = config_of(tmp_path, BATCHING)
    expected = parsed(BATCHING)
    expected.name = "m"
    expected.version_policy.specific.versions[:] = [1]
    assert found == expected


def test_what_was_set_is_said(tmp_path: Path) -> None:
    """Each option that is set replaces what the directory says of it, and leaves what stands beside it."""
    found = config_of(
        tmp_path,
        BATCHING,
        device="cpu",
        instance_count=5,
        max_batch_size=8,
        preferred_batch_sizes=[2, 8],
        batch_delay_us=0,
        max_queue_size=3,
        queue_timeout_us=100,
        priority_levels=4,
        response_cache=False,
        rate_limiter={"S": 2},
    )
    batching = found.dynamic_batching
    assert found.max_batch_size == 8
    assert list(batching.preferred_batch_size) == [2, 8]
    assert batching.max_queue_delay_microseconds == 0
    assert batching.preserve_ordering
    assert (batching.priority_levels, batching.default_priority_level) == (4, 4)
    policy = batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (3, 100)
    assert policy.timeout_action == policy.REJECT
    assert batching.priority_queue_policy[3].max_queue_size == 1
    [group] = found.instance_group
    assert (group.kind, group.count, list(group.gpus)) == (group.KIND_CPU, 5, [])
    assert [(one.name, one.count) for one in group.rate_limiter.resources] == [("S", 2)]
    assert not found.response_cache.enable


def test_a_directory_that_says_little_gets_what_is_set(tmp_path: Path) -> None:
    """A batcher, an instance group and a cache are made where there is none."""
    found = config_of(
        tmp_path, PLAIN, preferred_batch_sizes=[4], response_cache=True, instance_count=3, rate_limiter={"R": 1}
    )
    assert list(found.dynamic_batching.preferred_batch_size) == [4]
    assert found.response_cache.enable
    [group] = found.instance_group
    assert (group.count, group.kind) == (3, group.KIND_AUTO)
    assert [(one.name, one.count) for one in group.rate_limiter.resources] == [("R", 1)]


@pytest.mark.parametrize("text", [PLAIN, SINGLE, SEQUENCES, ENSEMBLE])
def test_what_is_set_to_nothing_asks_for_nothing(tmp_path: Path, text: str) -> None:
    """Zero delay, no cache and no limits are no reason to give a directory a batcher, or to refuse it."""
    found = config_of(
        tmp_path, text, batch_delay_us=0, max_queue_size=0, priority_levels=0, response_cache=False, rate_limiter={}
    )
    assert not found.HasField("dynamic_batching")
    assert not found.HasField("response_cache")
    assert not found.instance_group


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (PLAIN, {"preferred_batch_sizes": [4, 32]}, "prefer batches of 32 rows, and a batch has 16"),
        (BATCHING, {"max_batch_size": 8}, "prefer batches of 16 rows, and a batch has 8"),
        (PLAIN, {"max_batch_size": 32}, "set to 32.*takes 1 to 16 rows"),
        (PLAIN, {"max_batch_size": 0}, "set to 0.*takes 1 to 16 rows"),
        (SINGLE, {"max_batch_size": 8}, "no batch dimension"),
        (SINGLE, {"batch_delay_us": 5}, "no batch dimension"),
        (SEQUENCES, {"batch_delay_us": 5}, "no dynamic batcher but a sequence batcher"),
        (ENSEMBLE, {"max_queue_size": 5}, "no dynamic batcher but an ensemble"),
        (ENSEMBLE, {"instance_count": 2}, "no instances of its own"),
        (ENSEMBLE, {"device": "cpu"}, "no instances of its own"),
        (TWO_GROUPS, {"instance_count": 2}, "2 groups of instances"),
        (BATCHING, {"priority_levels": 2}, "a queue for level 3"),
        (PLAIN, {"rate_limiter": {"R:1": 2}}, "must match"),
        ('backend: "x" instance_group { rate_limiter { resources { name: "a b" } } }', {}, "must match"),
    ],
)
def test_a_contradiction_is_told_in_one_sentence(
    tmp_path: Path, text: str, options: dict[str, object], said: str
) -> None:
    """What a directory cannot do is refused before Triton is started, with what was set and what it says."""
    with pytest.raises(ArtifactRefused, match=said) as refused:
        config_of(tmp_path, text, **options)
    assert "\n" not in str(refused.value)


def test_a_default_priority_of_zero_is_the_lowest(tmp_path: Path) -> None:
    """Also where the number of levels is the directory's."""
    found = config_of(tmp_path, BATCHING, default_priority_level=0)
    assert (found.dynamic_batching.priority_levels, found.dynamic_batching.default_priority_level) == (3, 3)
