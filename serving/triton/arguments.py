"""What a pool is told: a frozen value that travels to its replicas as plain JSON.

Settings, a Serve configuration file and tests all end here, and nothing behind it reads settings or environment.
How the pool is run is `pool.py`'s; this file imports no Ray, so that whoever composes pools need not either.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from serving.errors import SettingsError
from serving.triton.layout import ModelVersion


@dataclass(frozen=True, slots=True)
class PoolArguments:
    """One pool: the replicas of one version of one model.

    Args:
        model: the model's name.
        version: 1 or more.
        path: the artifact folder, the same on every node.
        state_dir: where a replica may write; its Triton repository is laid out there.
        redis_url: where the endpoint leases are kept.
        redis_namespace: what the keys there begin with.
        lease_s: how long a lease holds without being renewed, in seconds.
        device: "cpu" or "gpu".
        replicas: how many replicas.
        num_cpus: the share of cores that Ray reserves for a replica; fractions, or few fit on a small machine.
        num_gpus: the share of GPUs, where the device is "gpu".
        instance_count: how many copies of a torch program run at once in a replica.
        max_batch_size: how many rows are merged into one forward pass at most; 0: requests are never merged.
        batch_delay_us: how many microseconds a request waits for company.
        threads: how many threads torch may use in one instance.
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
    path: str
    state_dir: str
    redis_url: str
    redis_namespace: str = "sluice"
    lease_s: float = 3.0
    device: str = "cpu"
    replicas: int = 1
    num_cpus: float = 0.1
    num_gpus: float = 1.0
    instance_count: int = 1
    max_batch_size: int = 64
    batch_delay_us: int = 0
    threads: int = 1
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
        if mistakes:
            raise SettingsError(f"The pool of {self.model} version {self.version} cannot be run:", "", mistakes)
        _ = self.spec

    @property
    def _rules(self) -> tuple[tuple[str, object, bool, str], ...]:
        ports = (self.first_port, self.last_port)
        return (
            ("replicas", self.replicas, self.replicas >= 1, "1 or more"),
            ("lease_s", self.lease_s, self.lease_s > 0, "more than 0 seconds"),
            ("num_cpus", self.num_cpus, self.num_cpus >= 0, "0 or more"),
            ("num_gpus", self.num_gpus, self.num_gpus > 0, "more than 0"),
            ("the port range", ports, 1 <= ports[0] < ports[1] <= 65_535, "two ports or more, from 1 to 65535"),  # noqa: PLR2004
            ("ready_timeout_s", self.ready_timeout_s, self.ready_timeout_s > 0, "more than 0 seconds"),
            ("drain_delay_s", self.drain_delay_s, self.drain_delay_s >= 0, "0 or more seconds"),
            ("drain_limit_s", self.drain_limit_s, self.drain_limit_s >= 0, "0 or more seconds"),
        )

    @property
    def spec(self) -> ModelVersion:
        """What each replica lays out."""
        return ModelVersion(
            name=self.model,
            version=self.version,
            path=Path(self.path),
            device=self.device,
            instance_count=self.instance_count,
            max_batch_size=self.max_batch_size,
            batch_delay_us=self.batch_delay_us,
            threads=self.threads,
        )

    @property
    def capacity(self) -> int:
        """How many requests a replica works on at once."""
        return self.instance_count * max(1, self.max_batch_size)

    @property
    def gpus(self) -> float:
        """How many GPUs Ray reserves for each replica."""
        return self.num_gpus if self.device == "gpu" else 0.0

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
