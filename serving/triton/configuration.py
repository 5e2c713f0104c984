"""A model's config.pbtxt: written for an artifact that has none, read and adapted where a Triton directory brings it.

Both are protobuf messages here, never patched as text, so whatever a name contains, Triton reads what was meant.
"""

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.pools import bounded_capacity
from serving.triton import options
from serving.triton.runtimes import PYTHON, Runtime
from serving.triton.signature import Signature, Tensor
from serving.triton.version import ArtifactRefused, ModelVersion

CONFIGURATION = "config.pbtxt"


def generated(
    spec: ModelVersion, runtime: Runtime, signature: Signature, backend: str, ranks: Mapping[str, int]
) -> Any:  # noqa: ANN401 - protobuf has no types
    """The ModelConfig of an artifact that is no Triton directory.

    Args:
        spec: the version.
        runtime: with what its kind runs.
        signature: what it takes and gives.
        backend: which of the runtime's backends.
        ranks: of tensors by name, batch dimension included, as the model itself has them; for Triton's own backends,
            which, unlike ours, want to be told where a row is a single value. Unknown ones may be missing.

    Raises:
        ArtifactRefused: an option cannot be said.
    """
    config = ModelConfig(name=spec.name, backend=backend, max_batch_size=spec.options.max_batch_size)
    for tensor in signature.inputs:
        _add(config.input, tensor, spec, ranks)
    for tensor in signature.outputs:
        added = _add(config.output, tensor, spec, ranks)
        if tensor.labels:
            added.label_filename = label_file(tensor)
    if spec.options.max_batch_size:
        config.dynamic_batching.SetInParent()
    options.apply(config, spec.options)
    _set_version(config, spec)
    if backend != PYTHON:
        config.default_model_filename = runtime.native_file
    threads = "threads" if backend == PYTHON else runtime.native_threads
    config.parameters[threads].string_value = str(spec.options.threads)
    return config


def adapted(spec: ModelVersion, text: str) -> Any:  # noqa: ANN401 - as above
    """The ModelConfig of a Triton directory with this name, this version, and the options that somebody set.

    Raises:
        ArtifactRefused: it cannot be read, or contradicts an option.
    """
    config = parsed(text, str(spec))
    config.name = spec.name
    options.apply(config, spec.options, spec.options.model_fields_set)
    _set_version(config, spec)
    return config


def parsed(text: str, whose: str) -> Any:  # noqa: ANN401 - as above
    """The ModelConfig that a config.pbtxt holds.

    Raises:
        ArtifactRefused: it is none.
    """
    config = ModelConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise ArtifactRefused(f"The {CONFIGURATION} of {whose} is not a model configuration: {error}.") from error
    return config


def written(config: Any) -> str:  # noqa: ANN401 - as above
    """The text of a ModelConfig."""
    return str(text_format.MessageToString(config))


def capacity(config: Any) -> int:  # noqa: ANN401 - as above
    """How many requests a server works on at once: a batch of them in each instance of the model."""
    # A group that says no count has one instance, and one of GPUs that are named so many on each.
    instances = sum(max(1, group.count) * max(1, len(group.gpus)) for group in config.instance_group)
    return bounded_capacity(max(1, instances) * max(1, config.max_batch_size))


def priority_levels(config: Any) -> int:  # noqa: ANN401 - as above
    """How many levels of priority the model's queue has; 0 for none."""
    return int(config.dynamic_batching.priority_levels) if config.HasField("dynamic_batching") else 0


def rate_limits(config: Any) -> dict[str, int]:  # noqa: ANN401 - as above
    """The most that one execution takes of each of the rate limiter's resources."""
    most: dict[str, int] = {}
    for group in config.instance_group:
        for resource in group.rate_limiter.resources:
            most[resource.name] = max(most.get(resource.name, 0), resource.count)
    return most


def label_file(tensor: Tensor) -> str:
    """One for each name, also where a name has characters that a file's may not have."""
    return re.sub(r"[^A-Za-z0-9_]", lambda found: f"-{ord(found[0]):x}-", tensor.name) + ".labels.txt"


def datatype_name(data_type: int) -> str:
    """Triton's name in the v2 protocol of a datatype in a configuration."""
    name = ModelConfig.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number[data_type].name
    return "BYTES" if name == "TYPE_STRING" else str(name).removeprefix("TYPE_")


def _add(tensors: Any, tensor: Tensor, spec: ModelVersion, ranks: Mapping[str, int]) -> Any:  # noqa: ANN401 - as above
    # To Triton, a model that does not batch has no batch dimension: then it is one more dimension that varies.
    rows = () if spec.options.max_batch_size else (-1,)
    data_type = "TYPE_STRING" if tensor.datatype == "BYTES" else f"TYPE_{tensor.datatype}"
    added = tensors.add(name=tensor.name, data_type=data_type, dims=[*rows, *tensor.shape])
    if ranks.get(tensor.name) == 1 and tensor.shape == (1,):
        # Where nothing is left, an empty shape must still be said.
        added.reshape.shape[:] = rows
        added.reshape.SetInParent()
    return added


def _set_version(config: Any, spec: ModelVersion) -> None:  # noqa: ANN401 - as above
    config.version_policy.specific.versions[:] = [spec.version]
