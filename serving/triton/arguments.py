"""What a pool is told: a frozen value that travels to its replicas as plain JSON.

Settings, a Serve configuration file and tests all end here, and nothing behind it reads settings or environment.
How the pool is run is `pool.py`'s; this file imports no Ray, so that whoever composes pools need not either.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serving.errors import SettingsError
from serving.pools import PoolOptions, PoolSpec
from serving.triton.layout import ModelVersion

_LEAST_PORTS = 3
"""Of a server: HTTP, gRPC, metrics."""


@dataclass(frozen=True, slots=True)
class PoolArguments:
    """One pool: the replicas of one version of one model.

    Args:
        model: the model's name.
        version: 1 or more.
        state_dir: where a replica may write; its Triton repository is laid out there.
        redis_url: where the endpoint leases are kept; empty for a trial, which holds none.
        path: the artifact folder, the same on every node; empty where `artifact` is given.
        artifact: SHA-256 of a registered artifact, which each replica loads into a folder of its own.
        artifacts: the address of the store that keeps it.
        kind: of the registered artifact (`registry.kinds`).
        signature: of the registered version, as JSON in the form of `signature.json`.
        example: the JSON body of a v2 inference request to warm up with; empty for the artifact's own, or zeros.
        allow_pickle: whether a scikit-learn model may be a pickle.
        options: how it is run, as `serving.pools.PoolOptions` says it; what is left out is as it is there.
        redis_namespace: what the keys there begin with.
        lease_s: how long a lease holds without being renewed, in seconds.
        num_cpus: the share of cores that Ray reserves for a replica; fractions, or few fit on a small machine.
        host: the address that Triton binds to.
        first_port: the lowest port that Triton may take.
        last_port: the highest.
        ready_timeout_s: how long a server may take to get ready, in seconds.
        binary: the tritonserver to run; None for the first that is found.
        log_dir: where Triton's logs go; None for nowhere.
        drain_delay_s: how long a server goes on answering after its lease is gone, so that gateways hear of it.
        drain_limit_s: how long it may then take to end what it works on.
    """

    model: str
    version: int
    state_dir: str
    redis_url: str
    path: str = ""
    artifact: str = ""
    artifacts: str = ""
    kind: str = ""
    signature: str = ""
    example: str = ""
    allow_pickle: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    redis_namespace: str = "sluice"
    lease_s: float = 3.0
    num_cpus: float = 0.1
    host: str = "127.0.0.1"
    first_port: int = 21_000
    last_port: int = 21_999
    ready_timeout_s: float = 120.0
    binary: str | None = None
    log_dir: str | None = None
    drain_delay_s: float = 0.5
    drain_limit_s: float = 20.0

    def __post_init__(self) -> None:
        """Refuses what no replica could be started from.

        Raises:
            SettingsError: naming every mistake at once.
            ArtifactRefused: the model's part is wrong.
        """
        mistakes = [
            f"{name} is {value!r}: it must be {allowed}" for name, value, good, allowed in self._rules if not good
        ]
        mistakes += _mistakes_in(self.options)
        if mistakes:
            raise SettingsError(f"The pool of {self.model} version {self.version} cannot be run:", "", mistakes)
        _ = self.laid_out_from(Path(self.path))

    @property
    def _rules(self) -> tuple[tuple[str, object, bool, str], ...]:
        ports = (self.first_port, self.last_port)
        enough = 1 <= ports[0] <= ports[1] - _LEAST_PORTS + 1 and ports[1] <= 65_535  # noqa: PLR2004
        whence = (self.path, self.artifact)
        return (
            ("(path, artifact)", whence, bool(self.path) != bool(self.artifact), "exactly one of the two"),
            ("artifacts", self.artifacts, bool(self.artifacts) or not self.artifact, "the address of a store"),
            ("lease_s", self.lease_s, self.lease_s > 0, "more than 0 seconds"),
            ("num_cpus", self.num_cpus, self.num_cpus >= 0, "0 or more"),
            ("the port range", ports, enough, f"{_LEAST_PORTS} ports or more, from 1 to 65535"),
            ("ready_timeout_s", self.ready_timeout_s, self.ready_timeout_s > 0, "more than 0 seconds"),
            ("drain_delay_s", self.drain_delay_s, self.drain_delay_s >= 0, "0 or more seconds"),
            ("drain_limit_s", self.drain_limit_s, self.drain_limit_s >= 0, "0 or more seconds"),
        )

    @property
    def how(self) -> PoolOptions:
        """How it is run, as a value that has checked itself."""
        return PoolOptions.model_validate(dict(self.options))

    @property
    def spec(self) -> PoolSpec:
        """The pool that these are the arguments of."""
        return PoolSpec(
            self.model,
            self.version,
            self.how,
            path=self.path,
            artifact=self.artifact,
            kind=self.kind,
            signature=self.signature,
            example=self.example,
        )

    def laid_out_from(self, folder: Path) -> ModelVersion:
        """What a replica lays out, once its artifact is in that folder."""
        return ModelVersion(
            name=self.model,
            version=self.version,
            path=folder,
            options=self.how,
            kind=self.kind,
            signature=self.signature,
            allow_pickle=self.allow_pickle,
        )

    def plain(self) -> dict[str, Any]:
        """The arguments as JSON can hold them; `read` is the way back."""
        return asdict(self)


def read(plain: Mapping[str, Any]) -> PoolArguments:
    """The arguments that `PoolArguments.plain` gave, or that a Serve configuration file holds.

    Raises:
        SettingsError: a name is unknown, or one is missing, or a value is not allowed.
    """
    known = {field.name for field in fields(PoolArguments)}
    if unknown := sorted(plain.keys() - known):
        raise SettingsError(f"A pool has no argument {', '.join(unknown)}.", f"It has {', '.join(sorted(known))}.")
    try:
        return PoolArguments(**plain)
    except TypeError as error:
        raise SettingsError(f"The arguments of a pool are incomplete, or of the wrong kind: {error}.") from error


def missing_gpu(model: str, version: int, gpus: float, resources: Mapping[str, float]) -> str | None:
    """Why a pool that takes so many GPUs a replica cannot run on a cluster with these resources; None where it can."""
    found = resources.get("GPU", 0.0)
    # A replica is one process on one node, so what the cluster has in sum is the most that can be said beforehand.
    if gpus <= found:
        return None
    return (
        f"{model} version {version} is to run on a GPU ({gpus:g} for each replica), "
        f"and this Ray cluster has {found:g}: use device cpu, or a cluster that has one."
    )


def _mistakes_in(options: Mapping[str, Any]) -> list[str]:
    try:
        PoolOptions.model_validate(dict(options))
    except ValidationError as error:
        found = error.errors(include_url=False)
        return [
            f"options.{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}" for one in found
        ]
    return []
