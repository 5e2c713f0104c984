"""What a pool is to be: which version of which model, from where, and how it is run. Values only.

The settings, the control API, the store, the conductor and the replicas all mean the same by these: `PoolOptions` is
what an operator may say of a pool (in `sluice.yaml` beside a version, or in the body of a deployment), `PoolSpec` is
one pool as it is wanted. How it is brought about is the conductor's; what Triton is told, `serving.triton.layout`'s.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from registry.signature import TensorSpec
from serving.kinds import number, whole

PRIORITY_LEVELS = 1_000
_LONGEST_DELAY_US = 10_000_000
_DIGEST_LENGTH = 12
_LARGEST_CAPACITY = 65_535
"""Of an endpoint (`serving.endpoint`)."""

HOW_MANY = frozenset({"replicas", "max_replicas", "target_in_flight", "keep_warm_s", "carries_rps"})
"""Options that say how many servers there are, for how long and what is known of them, not what each of them is."""


class PoolOptions(BaseModel):
    """How one version is run. What Triton calls by a name is called by that name here.

    Attributes:
        device: what the instances run on.
        num_gpus: how many GPUs each replica takes; None is 1 on a gpu, else none.
        replicas: how many servers at least, while the version is wanted.
        max_replicas: how many at most; None is as many as `replicas`, without autoscaling.
        target_in_flight: requests in flight for each replica that autoscaling aims at; None is what one works on at
            once.
        keep_warm_s: how long a version that no policy routes to keeps its servers; then it is scaled to zero.
        carries_rps: requests a second that each replica carries, as it was measured under load; None is what its
            warm-up burst came to. Policies are checked against it.
        instance_count: copies of the model in each server.
        max_batch_size: the most rows in one request or batch; 0 is no batch dimension.
        preferred_batch_sizes: batches that the dynamic batcher tries to make; empty for any.
        batch_delay_us: how many microseconds a request waits for company.
        max_queue_size: how many requests wait in Triton's queue before it refuses more; 0 is any number.
        queue_timeout_us: how long a request may wait in Triton's queue; 0 is for ever.
        priority_levels: how many priorities requests may have, 1 the highest; 0 is none.
        default_priority_level: of a request that names none; 0 is the lowest.
        response_cache: whether Triton answers repeated requests from its cache.
        rate_limiter: Triton's rate limiter's resources that an execution takes, by name; empty is no limit.
        threads: how many threads a numeric library may use in one instance.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False)

    device: Literal["cpu", "gpu"] = "cpu"
    num_gpus: Annotated[float | None, number(0.01, 64, null="1 on a gpu, else none")] = None
    replicas: Annotated[int, whole(1, 1_000)] = 1
    max_replicas: Annotated[int, whole(1, 1_000)] | None = None
    target_in_flight: Annotated[float | None, number(0.1, 65_535, null="as many as a replica works on at once")] = None
    keep_warm_s: Annotated[float, number(0, 31_536_000)] = 600.0
    carries_rps: Annotated[float | None, number(0.001, 10_000_000, null="what its warm-up burst came to")] = None
    instance_count: Annotated[int, whole(1, 64)] = 1
    max_batch_size: Annotated[int, whole(0, 65_536)] = 64
    preferred_batch_sizes: Annotated[tuple[Annotated[int, whole(1, 65_536)], ...], Field(max_length=64)] = ()
    batch_delay_us: Annotated[int, whole(0, _LONGEST_DELAY_US)] = 0
    max_queue_size: Annotated[int, whole(0, 1_000_000)] = 0
    queue_timeout_us: Annotated[int, whole(0, 3_600_000_000)] = 0
    priority_levels: Annotated[int, whole(0, PRIORITY_LEVELS)] = 0
    default_priority_level: Annotated[int, whole(0, PRIORITY_LEVELS)] = 0
    response_cache: Annotated[bool, Field(strict=True)] = False
    rate_limiter: Annotated[Mapping[str, Annotated[int, whole(1, 1_000_000)]], Field(max_length=64)] = {}
    threads: Annotated[int, whole(1, 1_024)] = 1

    @field_validator("num_gpus")
    @classmethod
    def _on_a_gpu(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("device") == "cpu":
            raise ValueError("it goes with `device: gpu` only")
        return value

    @field_validator("max_replicas")
    @classmethod
    def _not_below_replicas(cls, value: int | None, info: ValidationInfo) -> int | None:
        least = info.data.get("replicas", 1)
        if value is not None and value < least:
            raise ValueError(f"it takes {least} (replicas) or more, or null (no autoscaling)")
        return value

    @field_validator("preferred_batch_sizes")
    @classmethod
    def _within_a_batch(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        most = info.data.get("max_batch_size", 65_536)
        if stray := [size for size in value if size > most]:
            raise ValueError(f"a batch has {most} rows at most (max_batch_size), so none of {stray[0]} is ever made")
        return value

    @field_validator("batch_delay_us", "max_queue_size", "queue_timeout_us", "priority_levels")
    @classmethod
    def _needs_the_batcher(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("max_batch_size") == 0:
            raise ValueError("it is the dynamic batcher's, which a model without a batch dimension has not")
        return value

    @field_validator("default_priority_level")
    @classmethod
    def _one_of_the_levels(cls, value: int, info: ValidationInfo) -> int:
        levels = info.data.get("priority_levels", PRIORITY_LEVELS)
        if value > levels:
            raise ValueError(f"it takes one of the priority_levels, 1 to {levels}, or 0")
        return value

    @property
    def gpus(self) -> float:
        """How many GPUs each replica takes."""
        if self.device == "cpu":
            return 0.0
        return 1.0 if self.num_gpus is None else self.num_gpus

    @property
    def capacity(self) -> int:
        """How many requests a replica works on at once, where no Triton directory says otherwise."""
        return bounded_capacity(self.instance_count * max(1, self.max_batch_size))

    @property
    def most_replicas(self) -> int:
        """How many servers there may be."""
        return self.replicas if self.max_replicas is None else self.max_replicas


def bounded_capacity(requests: int) -> int:
    """So many requests at once, or the most that a lease can say: more than that nobody sends to one server."""
    return min(requests, _LARGEST_CAPACITY)


class PoolKey(NamedTuple):
    """What names a pool: two that would start different servers have different digests (`PoolSpec.digest`)."""

    model: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """One pool: a version of a model, where it comes from, and how it is run.

    Attributes:
        model: the model's name.
        version: 1 or more.
        options: how it is run.
        path: the folder of a version that the settings declare, the same on every node; empty for a registered one.
        artifact: SHA-256 of a registered version's artifact, under which the artifact store keeps it; else empty.
        kind: of the registered artifact (`registry.kinds`); else empty.
        signature: of the registered version, as JSON in the form of `signature.json`; else empty.
        example: the JSON body of a v2 inference request to warm up with; empty for none.
    """

    model: str
    version: int
    options: PoolOptions = field(default_factory=PoolOptions)
    path: str = ""
    artifact: str = ""
    kind: str = ""
    signature: str = ""
    example: str = ""

    def __post_init__(self) -> None:
        if bool(self.path) == bool(self.artifact):
            raise ValueError(f"{self} is either a folder's or an artifact's, and must name exactly one of the two")

    @property
    def key(self) -> tuple[str, int]:
        """Whose it is: (model, version)."""
        return self.model, self.version

    @property
    def digest(self) -> str:
        """Twelve hex digits of the SHA-256 of all that its servers are started with.

        The number of replicas and what it follows from (`HOW_MANY`) are no part of it. What was said counts, not what
        follows from it: an option that is said to be as it would be anyway may override a Triton directory's own.
        """
        plain = self.plain()
        plain["options"] = {name: value for name, value in plain["options"].items() if name not in HOW_MANY}
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]

    @property
    def key_with_digest(self) -> PoolKey:
        """What names it."""
        return PoolKey(self.model, self.version, self.digest)

    def __str__(self) -> str:
        """'digits version 3'."""
        return f"{self.model} version {self.version}"

    def plain(self) -> dict[str, Any]:
        """The pool as JSON can hold it; `from_plain` is the way back."""
        said = {name: getattr(self, name) for name in ("path", "artifact", "kind", "signature", "example")}
        return {
            "model": self.model,
            "version": self.version,
            "options": self.options.model_dump(mode="json", exclude_unset=True),
            **{name: text for name, text in said.items() if text},
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The pool that `plain` gave.

        Raises:
            ValueError: it is none.
        """
        try:
            return cls(**{**plain, "options": PoolOptions.model_validate(plain.get("options", {}))})
        except TypeError as error:
            raise ValueError(f"a pool cannot be read from {json.dumps(dict(plain))[:200]}: {error}") from error


@dataclass(frozen=True, slots=True)
class PoolState:
    """One pool as it is.

    Attributes:
        key: what names it.
        state: in Serve's words: DEPLOYING, RUNNING, UNHEALTHY, DEPLOY_FAILED, DELETING.
        message: what is wrong, in a sentence of ours where there is one; else what Serve says.
        replicas_running: how many have started.
        replicas_wanted: how many there are to be.
    """

    key: PoolKey
    state: str
    message: str = ""
    replicas_running: int = 0
    replicas_wanted: int = 0

    @property
    def model(self) -> str:
        """The model's name."""
        return self.key.model

    @property
    def version(self) -> int:
        """The model's version."""
        return self.key.version


@dataclass(frozen=True, slots=True)
class Tried:
    """What a trial of a version found (`serving.triton.trial`).

    Attributes:
        inputs: as the running model says them, without the batch dimension.
        outputs: likewise.
        config: the config.pbtxt that it ran with.
        latency_ms: of one request at a time, the median once it had settled.
        throughput: requests a second that one server answered when it had as many as it works on at once; None where
            that would have measured its cache.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    config: str
    latency_ms: float
    throughput: float | None
