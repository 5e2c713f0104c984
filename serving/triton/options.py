"""What a pool's options say in a model's configuration: batching, queue, priorities, instances, cache, rate limits.

The same for a configuration that is written here and for one that came with a Triton directory. Into the former go all
options, into the latter those that an operator set; there, an option that contradicts the directory is refused in a
sentence, before Triton would refuse it in its own words.
"""

import re
from collections.abc import Set as AbstractSet
from typing import Any

from serving.pools import PoolOptions
from serving.triton.version import ArtifactRefused

ALL = frozenset(PoolOptions.model_fields)
_BATCHER = (
    "preferred_batch_sizes",
    "batch_delay_us",
    "max_queue_size",
    "queue_timeout_us",
    "priority_levels",
    "default_priority_level",
)
_INSTANCES = ("device", "instance_count", "rate_limiter")
_RESOURCE = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_OTHER_SCHEDULERS = {"sequence_batching": "a sequence batcher", "ensemble_scheduling": "an ensemble"}


def apply(config: Any, options: PoolOptions, chosen: AbstractSet[str] = ALL) -> None:  # noqa: ANN401 - protobuf
    """Changes the ModelConfig so that it says what the options named in `chosen` say.

    Raises:
        ArtifactRefused: the configuration contradicts one of them.
    """
    if "max_batch_size" in chosen:
        _set_batch_size(config, options.max_batch_size)
    _set_batcher(config, options, chosen)
    _check_preferred(config)
    _set_instances(config, options, chosen)
    _check_resources(config)
    if "response_cache" in chosen and (options.response_cache or config.HasField("response_cache")):
        config.response_cache.enable = options.response_cache


def _set_batch_size(config: Any, wanted: int) -> None:  # noqa: ANN401 - as above
    most = config.max_batch_size
    if wanted == most:
        return
    if not most:
        raise ArtifactRefused(
            f"max_batch_size of {config.name} is set to {wanted}, and by its config.pbtxt it has no batch dimension.",
            "Leave max_batch_size out.",
        )
    if not 1 <= wanted <= most:
        raise ArtifactRefused(
            f"max_batch_size of {config.name} is set to {wanted}, and by its config.pbtxt it takes 1 to {most} rows.",
            f"Set it to at most {most}, or leave it out.",
        )
    config.max_batch_size = wanted


def _set_batcher(config: Any, options: PoolOptions, chosen: AbstractSet[str]) -> None:  # noqa: ANN401 - as above
    named = [name for name in _BATCHER if name in chosen]
    if not config.HasField("dynamic_batching"):
        # What is set to nothing asks for no batcher where there is none.
        named = [name for name in named if getattr(options, name)]
    if not named:
        return
    _refuse_other_schedulers(config, named)
    batcher = config.dynamic_batching
    if "preferred_batch_sizes" in named:
        batcher.preferred_batch_size[:] = options.preferred_batch_sizes
    if "batch_delay_us" in named:
        batcher.max_queue_delay_microseconds = options.batch_delay_us
    _set_queue(batcher, options, named)
    if "priority_levels" in named or "default_priority_level" in named:
        _set_priorities(config, options, named)


def _set_queue(batcher: Any, options: PoolOptions, named: list[str]) -> None:  # noqa: ANN401 - as above
    limits = {"max_queue_size": "max_queue_size", "queue_timeout_us": "default_timeout_microseconds"}
    for name, theirs in limits.items():
        value = getattr(options, name)
        if name in named and (value or batcher.HasField("default_queue_policy")):
            setattr(batcher.default_queue_policy, theirs, value)
            if name == "queue_timeout_us":
                batcher.default_queue_policy.timeout_action = batcher.default_queue_policy.REJECT


def _set_priorities(config: Any, options: PoolOptions, named: list[str]) -> None:  # noqa: ANN401 - as above
    batcher = config.dynamic_batching
    levels = options.priority_levels if "priority_levels" in named else batcher.priority_levels
    default = options.default_priority_level if "default_priority_level" in named else 0
    if stray := sorted(level for level in batcher.priority_queue_policy if level > levels):
        raise ArtifactRefused(
            f"priority_levels of {config.name} is set to {levels}, and its config.pbtxt has a queue for level "
            f"{stray[0]}.",
            "Leave priority_levels out.",
        )
    batcher.priority_levels = levels
    # Triton has no default of its own; 0 stands for the lowest, which is the last.
    batcher.default_priority_level = default or levels


def _refuse_other_schedulers(config: Any, named: list[str]) -> None:  # noqa: ANN401 - as above
    other = _OTHER_SCHEDULERS.get(config.WhichOneof("scheduling_choice") or "")
    if other:
        raise ArtifactRefused(
            f"{named[0]} of {config.name} is set, and by its config.pbtxt it has no dynamic batcher but {other}.",
            f"Leave out {', '.join(named)}.",
        )
    if not config.max_batch_size:
        raise ArtifactRefused(
            f"{named[0]} of {config.name} is set, and by its config.pbtxt it has no batch dimension.",
            f"Leave out {', '.join(named)}.",
        )


def _check_preferred(config: Any) -> None:  # noqa: ANN401 - as above
    batcher = config.dynamic_batching
    if stray := [size for size in batcher.preferred_batch_size if size > config.max_batch_size]:
        raise ArtifactRefused(
            f"{config.name} is to prefer batches of {stray[0]} rows, and a batch has {config.max_batch_size} rows at "
            "most.",
            f"Set preferred_batch_sizes to sizes up to {config.max_batch_size}.",
        )


def _set_instances(config: Any, options: PoolOptions, chosen: AbstractSet[str]) -> None:  # noqa: ANN401 - as above
    named = [name for name in _INSTANCES if name in chosen and (name != "rate_limiter" or options.rate_limiter)]
    if not named and not ("rate_limiter" in chosen and config.instance_group):
        return
    if config.HasField("ensemble_scheduling"):
        raise ArtifactRefused(
            f"{named[0]} of {config.name} is set, and an ensemble has no instances of its own.",
            f"Leave out {', '.join(named)}.",
        )
    if "instance_count" in named and len(config.instance_group) > 1:
        raise ArtifactRefused(
            f"instance_count of {config.name} is set, and its config.pbtxt has {len(config.instance_group)} groups of "
            "instances, each with a count of its own.",
            "Leave instance_count out.",
        )
    if not config.instance_group:
        config.instance_group.add(count=1)
    for group in config.instance_group:
        _set_group(group, options, chosen)


def _check_resources(config: Any) -> None:  # noqa: ANN401 - as above
    """They become flags of the server, in which a colon would end a name."""
    for group in config.instance_group:
        for resource in group.rate_limiter.resources:
            if not _RESOURCE.fullmatch(resource.name):
                raise ArtifactRefused(
                    f"A resource of the rate limiter of {config.name} is called {resource.name!r}: its name must match "
                    f"{_RESOURCE.pattern}."
                )


def _set_group(group: Any, options: PoolOptions, chosen: AbstractSet[str]) -> None:  # noqa: ANN401 - as above
    if "instance_count" in chosen:
        group.count = options.instance_count
    if "device" in chosen:
        group.kind = group.KIND_GPU if options.device == "gpu" else group.KIND_CPU
        if options.device == "cpu":
            del group.gpus[:]
    if "rate_limiter" in chosen:
        group.ClearField("rate_limiter")
        for name, count in sorted(options.rate_limiter.items()):
            group.rate_limiter.resources.add(name=name, count=count)
