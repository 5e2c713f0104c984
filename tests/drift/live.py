"""Samples as keepers write them, and one installation's side of a real server: what the sidecar's tests share."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import redis
from numpy.typing import NDArray

from drift import findings, status
from drift.findings import Finding
from drift.keys import DriftKeys
from drift.model_watch import Held, ModelWatch
from drift.samples import Answer, Batch, Request, Role, Tensor, Totals, tensor_of
from drift.settings import DriftSettings
from drift.status import Status, WindowSeen
from drift.store import Store
from drift.tables import Table
from registry.baselines import BaselineRecord, Baselines
from registry.fake_store import FakeStore
from tests.drift import samples

LEASE_MS = 1_800_000
MODEL = str(samples.MODEL)
Columns = Mapping[str, NDArray[Any]]
_DATATYPES = {"f": {4: "FP32", 8: "FP64"}}


def tensors(table: Table) -> tuple[Tensor, ...]:
    """The columns as tensors whose first axis is the row."""
    return tuple(_tensor(name, values) for name, values in table.columns.items())


def _tensor(name: str, values: NDArray[Any]) -> Tensor:
    if values.dtype.kind != "O":
        return tensor_of(name, _DATATYPES[values.dtype.kind][values.dtype.itemsize], values)
    texts = np.empty(values.shape, object)
    texts[:] = [str(one).encode() for one in values.tolist()]
    return tensor_of(name, "BYTES", texts)


def request(
    seed: int, at_s: float, columns: Columns = MappingProxyType({}), *, rows: int = 50, version: int = 1
) -> Request:
    """A calm request of so many rows with its answer; these input columns in place of its own."""
    rng = np.random.default_rng([11, seed])
    table = samples.inputs(rng, rows)
    answer = Answer(version, Role.STABLE, tensors(samples.outputs(rng, rows)))
    return Request(at_s, seed * 1_000 + 1, {}, tensors(Table({**table.columns, **columns})), (answer,))


def arm(seed: int, at_s: float, shift: float = 0.0, rows: int = 50) -> Request:
    """A request that a candidate, version 2, answered; its first score higher by that much than stable's would be."""
    one = request(seed, at_s, rows=rows)
    score = np.clip(np.random.default_rng([13, seed]).beta(2, 5, rows) + shift, 0, 1)
    answer = Answer(2, Role.ARM, tensors(Table({"scores": np.stack((score, 1 - score), axis=1)})))
    return Request(at_s, one.key, {}, one.inputs, (answer,))


def moved(seed: int, at_s: float, rows: int = 50) -> Request:
    """A request whose x[2] is far from what it was."""
    x = np.random.default_rng([3, seed]).normal(size=(rows, 4))
    x[:, 2] += 1.5
    return request(seed, at_s, {"x": x}, rows=rows)


def settings_of(**said: Any) -> DriftSettings:  # noqa: ANN401 - whatever a setting is
    """Windows of a hundred rows and two seconds, and one false alarm in a day."""
    window = {"rows": samples.ROWS, "seconds": 2, "most_s": 3_600}
    return DriftSettings.model_validate({"window": window, "false_alarm_days": 1, "quiet_windows": 3, **said})


@dataclass
class Keeper:
    """One that writes to a real server.

    Args:
        url: of it.
        keys: of the installation.
        name: its own.
    """

    url: str
    keys: DriftKeys
    name: str = "gw-1 aa"
    number: int = 0
    written: int = 0
    last: bytes = b""
    client: redis.Redis = field(init=False)

    def __post_init__(self) -> None:
        self.client = redis.Redis.from_url(self.url)

    def batch(self, *requests: Request) -> bytes:
        """The next batch, which is not written yet."""
        self.number += 1
        self.written += sum(one.inputs[0].shape[0] for one in requests)
        totals = Totals(self.written, self.written)
        self.last = Batch(MODEL, self.name, self.number, totals, tuple(requests)).encode()
        return self.last

    def write(self, *requests: Request) -> None:
        """One more batch."""
        self.put(self.batch(*requests))

    def put(self, blob: bytes) -> None:
        """These bytes, whatever they are."""
        self.client.xadd(self.keys.samples(MODEL), {"b": blob})
        self.client.sadd(self.keys.sampled, MODEL)


@dataclass
class Installation:
    """A namespace of its own, with its registry in memory and all else on a real server."""

    url: str
    keys: DriftKeys = field(default_factory=lambda: DriftKeys(f"drift-{secrets.token_hex(6)}"))
    settings: DriftSettings = field(default_factory=settings_of)
    registry: FakeStore = field(default_factory=FakeStore)

    def __post_init__(self) -> None:
        self.store = Store(self.url, self.keys)
        self.kept = Baselines(self.registry)
        self.client = redis.Redis.from_url(self.url)
        self.keeper = Keeper(self.url, self.keys)

    async def bring(self, blob: bytes | None = None, version: int = 1) -> None:
        """The small baseline, as if somebody had uploaded it."""
        made = samples.baseline().blob if blob is None else blob
        await self.kept.keep(MODEL, version, made, rows=4_000, learned=False, made_at_s=1.0, who="test", elsewhere=True)

    def status(self, version: int = 1) -> Status:
        """As people are told."""
        raw = self.client.hget(self.keys.status, self.keys.status_field(MODEL, version))
        assert isinstance(raw, bytes), "nobody has told a status"
        return status.read(json.loads(raw))

    def history(self, version: int = 1) -> list[WindowSeen]:
        """Windows that were heard."""
        found = self.client.lrange(self.keys.history(MODEL, version), 0, -1)
        assert isinstance(found, list)
        return [status.window_read(json.loads(raw)) for raw in found]

    def findings(self) -> list[Finding]:
        """All that were made."""
        found = cast("list[tuple[bytes, dict[bytes, bytes]]]", self.client.xrange(self.keys.findings))
        return [findings.read(json.loads(fields[b"f"])) for _, fields in found]

    def state(self, version: int = 1) -> dict[bytes, bytes]:
        """As it is stored."""
        return cast("dict[bytes, bytes]", self.client.hgetall(self.keys.state(MODEL, version)))

    @property
    def waiting(self) -> int:
        """Entries of the stream."""
        found = self.client.xlen(self.keys.samples(MODEL))
        assert isinstance(found, int)
        return found


async def held(here: Installation, by: str = "t1") -> ModelWatch:
    """The model in the hands of whoever has that token."""
    assert await here.store.hold(MODEL, by, LEASE_MS)
    return ModelWatch(Held(MODEL, by, "sidecar"), here.settings.of(MODEL), here.store, here.kept)


async def records(here: Installation) -> dict[int, BaselineRecord]:
    """Of the model's baselines, by version."""
    return {int(one.version): one for one in await here.kept.all()}


async def drained(here: Installation, watch: ModelWatch, now_s: float = 1_000.0) -> ModelWatch:
    """Everything that is in the stream is counted and stored."""
    quiet = 0
    while quiet < 2:  # one look ends what was read before, one finds nothing new
        quiet = 0 if (await watch.tick(await records(here), now_s)).read else quiet + 1
    await watch.store(now_s)
    return watch


def calm(here: Installation, batches: int, begin: int = 0) -> None:
    """So many batches of 50 calm rows, one a second."""
    for at in range(begin, begin + batches):
        here.keeper.write(request(at, 1_000.0 + at))
