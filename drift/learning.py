"""A baseline of the first live requests, for a version to which nobody brought one.

Batches are kept as they came until there are enough. Odd requests are left out: of those whose tensors have the same
names, types and shapes the largest part is learned from.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Self

from drift.baseline import Baseline, Order, gathered, made
from drift.baseline_form import reading
from drift.calibration import FEWEST_INDEPENDENT
from drift.errors import Unfit
from drift.flattening import Part, tables_of
from drift.kinds import FEWEST_LEARNED
from drift.samples import batch_from
from drift.settings import WatchSettings
from drift.tables import Table
from registry.models import ModelName, VersionNumber

MOST_BYTES: Final = 128 * 1024 * 1024
"""Of what is gathered for one version; with so many it is learned from fewer rows."""

FIELD: Final = "learning"
"""Of a version's state."""

_NEARLY: Final = 0.9


@dataclass(frozen=True, slots=True)
class Learning:
    """How far one version's learning has come.

    Attributes:
        rows: that were gathered.
        size: bytes that their batches have.
        refused: why no baseline can be made of them; empty while that is not known.
    """

    rows: int = 0
    size: int = 0
    refused: str = ""

    def with_batch(self, rows: int, size: int) -> Self:
        """With one more batch."""
        return replace(self, rows=self.rows + rows, size=self.size + size)

    def is_enough(self, wanted: int) -> bool:
        """Whether there are so many rows, or no more are kept."""
        return not self.refused and (self.rows >= wanted or self.size >= MOST_BYTES)

    def encode(self) -> bytes:
        """As it is stored."""
        return json.dumps(asdict(self)).encode()


def read(raw: bytes | None) -> Learning:
    """What `Learning.encode` wrote; nothing gathered for None.

    Raises:
        Damaged: it is none.
    """
    if raw is None:
        return Learning()
    with reading("record of what was gathered"):
        return Learning(**json.loads(raw))


def learned(model: str, version: int, blobs: Iterable[bytes], settings: WatchSettings, now_s: float) -> Baseline:
    """The baseline of what was gathered.

    Args:
        model: whose.
        version: which.
        blobs: the batches.
        settings: of the model.
        now_s: seconds since 1970.

    Raises:
        Unfit: none can be made of them.
    """
    parts = [part for blob in blobs for part in tables_of(batch_from(blob)) if part.version == version]
    alike = _most_alike(parts)
    inputs = gathered(replace(part.inputs, at_s=part.at_s) for part in alike)
    if inputs.rows < FEWEST_LEARNED:
        raise Unfit(f"Of {sum(part.rows for part in parts):,} live rows {inputs.rows:,} are alike: that is too few.")
    rows = min(settings.window.rows, inputs.rows // FEWEST_INDEPENDENT)
    order = Order(ModelName(model), VersionNumber(version), window_rows=rows, live=True)
    return made(order, inputs, _outputs(alike, inputs.rows), now_s)


def _most_alike(parts: Sequence[Part]) -> Sequence[Part]:
    """Those of the form that most rows have, in their order."""
    forms: defaultdict[frozenset[object], list[Part]] = defaultdict(list)
    for part in parts:
        forms[_form(part.inputs)].append(part)
    return max(forms.values(), key=lambda some: sum(one.rows for one in some), default=[])


def _form(table: Table) -> frozenset[object]:
    return frozenset((name, one.dtype.kind, one.shape[1:]) for name, one in table.columns.items())


def _outputs(parts: Sequence[Part], rows: int) -> Table | None:
    """What was answered; None where that is not known of nearly all, or answers are of several forms."""
    tables = [replace(part.outputs, at_s=part.at_s) for part in parts if part.outputs is not None]
    if not tables or sum(one.rows for one in tables) < rows * _NEARLY:
        return None
    if len({_form(one) for one in tables}) > 1:
        return None
    return gathered(tables)
