"""Whatever is asked for, protobuf reads back from the config.pbtxt that is written, and nothing else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.kinds import ArtifactKind
from serving.triton.configuration import capacity, label_file
from serving.triton.layout import ModelVersion, config_text
from serving.triton.signature import Signature, Tensor
from tests.serving.triton.made import RUNNABLE, options, parsed

SPECS = st.builds(
    ModelVersion,
    name=st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,40}\Z"),
    version=st.integers(1, 2**63 - 1),
    path=st.just(Path()),
    options=options(),
    kind=st.sampled_from([ArtifactKind.TORCH_EXPORT, ArtifactKind.TORCHSCRIPT, ArtifactKind.ONNX]),
    signature=RUNNABLE.map(Signature.text),
)


@given(SPECS, RUNNABLE)
def test_a_configuration_says_what_the_spec_says(spec: ModelVersion, signature: Signature) -> None:
    """Names, sizes, tensors, instances and the version, without a folder to look into."""
    asked = spec.options
    spec = ModelVersion(spec.name, spec.version, spec.path, asked, spec.kind, signature.text())
    config = parsed(config_text(spec))
    assert (config.name, config.backend, config.max_batch_size) == (spec.name, "python", asked.max_batch_size)
    assert list(config.version_policy.specific.versions) == [spec.version]
    assert [tensor.name for tensor in config.input] == [tensor.name for tensor in signature.inputs]
    rows = [] if asked.max_batch_size else [-1]
    assert [list(tensor.dims) for tensor in config.output] == [[*rows, *one.shape] for one in signature.outputs]
    assert [one.label_filename for one in config.output] == [
        label_file(one) if one.labels else "" for one in signature.outputs
    ]
    assert capacity(config) == asked.capacity
    [group] = config.instance_group
    assert group.kind == {"cpu": 2, "gpu": 1}[asked.device]
    assert group.count == asked.instance_count
    assert {one.name: one.count for one in group.rate_limiter.resources} == dict(asked.rate_limiter)
    assert config.response_cache.enable == asked.response_cache
    assert config.parameters["threads"].string_value == str(asked.threads)


@given(SPECS)
def test_the_batcher_says_what_the_options_say(spec: ModelVersion) -> None:
    """Sizes, delay, queue and priorities; no batcher where there is no batch dimension."""
    asked = spec.options
    config = parsed(config_text(spec))
    assert config.HasField("dynamic_batching") == (asked.max_batch_size > 0)
    batcher = config.dynamic_batching
    assert tuple(batcher.preferred_batch_size) == asked.preferred_batch_sizes
    assert batcher.max_queue_delay_microseconds == asked.batch_delay_us
    policy = batcher.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (
        asked.max_queue_size,
        asked.queue_timeout_us,
    )
    assert policy.timeout_action == policy.REJECT
    assert batcher.priority_levels == asked.priority_levels
    assert batcher.default_priority_level == (asked.default_priority_level or asked.priority_levels)


@pytest.mark.parametrize(
    ("name", "file"), [("a/b", "a-2f-b.labels.txt"), ("a:b", "a-3a-b.labels.txt"), ("a-b", "a-2d-b.labels.txt")]
)
def test_a_file_of_labels_stays_in_its_folder(name: str, file: str) -> None:
    """A tensor's name may have slashes, a file's may not; no two names share a file."""
    assert label_file(Tensor(name, "FP32", (1,))) == file


@pytest.mark.parametrize(
    ("text", "at_once"),
    [
        ("", 1),
        ("max_batch_size: 8", 8),
        ("max_batch_size: 8 instance_group { kind: KIND_CPU }", 8),
        ("max_batch_size: 8 instance_group { count: 2 } instance_group { count: 3 gpus: [ 0, 1 ] }", 64),
        ("instance_group { count: 2 }", 2),
        ("max_batch_size: 60000 instance_group { count: 2 }", 65_535),
    ],
)
def test_the_capacity_is_a_batch_in_each_instance(text: str, at_once: int) -> None:
    """As the configuration has it, and no more than a lease can say."""
    assert capacity(parsed(text)) == at_once
