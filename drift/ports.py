"""What a sidecar asks of others: a store of samples and of what came of them, and whoever keeps baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from drift.encoding import Embedding, Encoder
from drift.labels import Labelled
from drift.store import Entry, VersionStep
from registry.baselines import BaselineRecord, Numbers


class Keeps(Protocol):
    """Where samples come from and everything goes (`drift.store`)."""

    async def sampled(self, model: str, token: str, after: str, count: int) -> Sequence[Entry] | None:
        """The next entries of the stream; None where another one holds the model."""

    async def pending(self, model: str) -> int:
        """Entries of the stream that are not acknowledged."""

    async def keepers(self, model: str) -> Mapping[str, bytes]:
        """What is known of the model's keepers."""

    async def state(self, model: str, version: int) -> Mapping[str, bytes]:
        """The fields that were stored of a version."""

    async def arms(self, model: str, version: int) -> Mapping[str, bytes]:
        """The fields that were stored of a candidate beside stable."""

    async def labels(self, model: str, version: int) -> Mapping[str, bytes]:
        """The fields that were stored of a version's labels."""

    async def graded(self, model: str, versions: Sequence[int]) -> Mapping[int, Labelled]:
        """What labels say of these versions so far; those that have none are left out."""

    async def to_learn(self, model: str, version: int) -> Sequence[bytes]:
        """The batches of which a version is to learn its baseline."""

    async def told(self, model: str) -> frozenset[int]:
        """Versions of which anything was told."""

    async def forget(self, model: str, token: str) -> bool:
        """Forgets a model of which no version is left and no sample waits; whether it did."""

    async def step(
        self,
        model: str,
        token: str,
        versions: Mapping[int, VersionStep],
        keepers: Mapping[str, bytes | None],
        read: Sequence[str],
    ) -> bool:
        """Stores what these samples led to, and acknowledges them; whether the token still held the model."""


class HasBaselines(Protocol):
    """Who keeps baselines (`registry.baselines`)."""

    async def all(self) -> Sequence[BaselineRecord]:
        """Those of all versions of all models."""

    async def numbers(self, model: str) -> Numbers:
        """Numbers of that model's versions that are there, and of those that were deleted."""

    async def read(self, model: str, version: int) -> tuple[BaselineRecord, bytes]:
        """The version's baseline and its bytes."""

    async def keep(
        self, model: str, version: int, blob: bytes, *, rows: int, learned: bool, made_at_s: float, who: str,
        why: str = "", elsewhere: bool = False,
    ) -> BaselineRecord:  # fmt: skip
        """Keeps these bytes as the version's baseline."""


class Encodes(Protocol):
    """Who asks encoders (`drift.asking`)."""

    async def rows(self, encoder: Encoder, values: NDArray[Any]) -> Embedding:
        """The embeddings of these rows; NaN for those that have none. Raises Unencoded where it does not answer."""
