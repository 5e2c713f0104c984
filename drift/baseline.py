"""What `sluice drift baseline` computes: all that live data of one version is compared with, as one value.

Inputs are those of the rows that it was trained on. Outputs are its answers to rows that it was not trained on: a
model is surer of what it has seen, and its answers there alarm on most windows that nothing happened to. A version
without a baseline can learn one from its first live requests; that one says so, for it cannot know what was wrong
from the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Final

import numpy as np

from drift import baseline_form, encoding
from drift.calibration import Cutting
from drift.encoding import Embedding, Encoder
from drift.errors import Unfit
from drift.measuring import Hours, Measured, measured
from drift.packing import OLDEST, READER, digest, pack, unpack
from drift.schema import Declared, Kind, Schema, learned, spread
from drift.side import Side
from drift.strata import DEFAULT_ZONE, Clock
from drift.tables import Table
from registry.models import ModelName, VersionNumber
from registry.signature import VARIES, Signature, TensorSpec

WINDOW_ROWS: Final = 500
"""Rows of a window where nothing else is said."""

_KIND: Final = "baseline"
_TEXT: Final = "BYTES"


@dataclass(frozen=True)
class Baseline:
    """Of one version; immutable, named by the digest of its bytes.

    Attributes:
        model: whose.
        version: which.
        inputs: what it was trained on.
        outputs: what it answered to rows that it was not trained on; None where nobody gave any.
        live: whether it was learned from live requests.
        made_at_s: when, seconds since 1970.
        notes: what whoever reads its verdicts should know, a sentence each.
        encoders: that stand between requests and inputs.
    """

    model: ModelName
    version: VersionNumber
    inputs: Side
    outputs: Side | None
    live: bool
    made_at_s: float
    notes: tuple[str, ...] = ()
    encoders: tuple[Encoder, ...] = ()

    def __str__(self) -> str:
        """'digits version 3'."""
        return f"{self.model} version {int(self.version)}"

    @cached_property
    def blob(self) -> bytes:
        """Its canonical bytes."""
        sides = {"inputs": self.inputs, **({"outputs": self.outputs} if self.outputs else {})}
        plain = {name: baseline_form.plain_of(side) for name, side in sides.items()}
        arrays = {f"{name}/{key}": one for name, side in sides.items() for key, one in baseline_form.arrays_of(side)}
        said = {
            "model": str(self.model),
            "version": int(self.version),
            "live": self.live,
            "made_at_s": self.made_at_s,
            "notes": list(self.notes),
            **({"encoders": [one.plain() for one in self.encoders]} if self.encoders else {}),
        }
        by_hour = any(side.by_hour is not None for side in sides.values())
        return pack(_KIND, {**said, "sides": plain}, arrays, READER if by_hour else OLDEST)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its bytes: what the registry records as the version's `baseline_digest`."""
        return digest(self.blob)


def read(blob: bytes) -> Baseline:
    """The baseline in these bytes.

    Raises:
        Damaged: they are none.
    """
    plain, arrays = unpack(_KIND, blob)
    with baseline_form.reading(_KIND):
        sides = {
            name: baseline_form.side_of(one, {
                key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")
            })
            for name, one in plain["sides"].items()
        }  # fmt: skip
        return Baseline(
            ModelName(plain["model"]),
            VersionNumber(plain["version"]),
            sides["inputs"],
            sides.get("outputs"),
            bool(plain["live"]),
            float(plain["made_at_s"]),
            tuple(map(str, plain["notes"])),
            tuple(map(encoding.encoder_of, plain.get("encoders", ()))),
        )


@dataclass(frozen=True)
class Order:
    """What a baseline is to be made of.

    Attributes:
        model: whose.
        version: which.
        signature: what the version takes and gives; None where nobody knows.
        declared: of its columns, inputs and outputs.
        window_rows: of a window, 2 or more.
        seed: of what is drawn.
        live: whether the rows are live requests.
        encoders: that stand between requests and inputs.
        strata: whether hours of the week are told apart; None for where they differ and rows are enough.
        zone: the IANA name of the zone whose clock that goes by.

    Raises:
        Unfit: this machine knows no such zone.
    """

    model: ModelName
    version: VersionNumber
    signature: Signature | None = None
    declared: Declared = field(default_factory=Declared)
    window_rows: int = WINDOW_ROWS
    seed: int = 0
    live: bool = False
    encoders: tuple[Encoder, ...] = ()
    strata: bool | None = None
    zone: str = DEFAULT_ZONE

    def __post_init__(self) -> None:
        Clock(self.zone)


def made(
    order: Order,
    inputs: Table,
    outputs: Table | None,
    made_at_s: float,
    *,
    embedded: Mapping[str, Embedding] = MappingProxyType({}),
) -> Baseline:
    """The baseline.

    Args:
        order: of what.
        inputs: of the training rows, and nothing else.
        outputs: the version's answers to rows that it was not trained on; None for none.
        made_at_s: now, seconds since 1970.
        embedded: what the order's encoders made of the training rows, by `Encoder.column`.

    Raises:
        Unfit: too few rows or independent windows, not what the signature says, or something is declared of a column
            that is neither among inputs nor outputs.
    """
    seen = _encoded(order, inputs, embedded)
    if order.strata and inputs.at_s is None:
        raise Unfit(
            "To tell hours apart takes the moment of each row.",
            "Name a column of dates and times, or of seconds since 1970; or do without strata.",
        )
    _refuse_unknown(order.declared, [inputs, seen] if outputs is None else [inputs, seen, outputs])
    signature = order.signature
    if signature is not None:
        _hold_against(signature.inputs, inputs, order.declared)
        if outputs is not None:
            _hold_against(signature.outputs, outputs, order.declared)
    ours = _side(order, seen, inputs)
    theirs = None if outputs is None else _side(order, outputs, outputs)
    return Baseline(
        order.model,
        order.version,
        ours.side,
        None if theirs is None else theirs.side,
        order.live,
        made_at_s,
        (*_notes(order, inputs, outputs), *_on_hours(ours, theirs)),
        order.encoders,
    )


def gathered(tables: Iterable[Table]) -> Table:
    """Live requests one after the other, in their order; of the columns, those that all of them have.

    Raises:
        Unfit: none, or tensors whose rows are of different shapes.
    """
    found = [table for table in tables if table.rows]
    if not found:
        raise Unfit("There are no live requests to learn from.", "Send some, and see that they are sampled.")
    shared = [name for name in found[0].columns if all(name in table.columns for table in found)]
    try:
        columns = {name: np.concatenate([table.columns[name] for table in found]) for name in shared}
    except ValueError as error:
        raise Unfit(f"Live requests have tensors of different shapes: {error}.") from error
    times = [table.at_s for table in found if table.at_s is not None]
    return Table(columns, ordered=True, at_s=np.concatenate(times) if len(times) == len(found) else None)


def _side(order: Order, table: Table, timed: Table) -> Measured:
    """The side of a table whose rows were when those of the other one were."""
    cutting = Cutting(table.rows, order.window_rows, table.ordered, order.seed)
    schema = learned(table, _said_of(table, order.declared))
    hours = None if timed.at_s is None else Hours(Clock(order.zone), timed.at_s, order.strata)
    return measured(schema, schema.rows_of(table), cutting, hours)


def _encoded(order: Order, inputs: Table, embedded: Mapping[str, Embedding]) -> Table:
    """The rows with embeddings in the place of what they were made of."""
    encoding.check(order.encoders, set(inputs.columns) - set(order.declared.elements))
    seen, breaks = encoding.applied(order.encoders, inputs, embedded)
    if breaks:
        raise Unfit(breaks[0].sentence)
    for one in order.encoders:
        if np.isnan(seen.columns[one.column]).all():
            raise Unfit(f"{one} made an embedding of no row of {one.of}.", "See what it answers to such a row.")
    return seen


def _refuse_unknown(declared: Declared, tables: Iterable[Table]) -> None:
    """What is declared of one side is no mistake on the other; of neither, it is."""
    known = {name for table in tables for name in spread(table, declared.elements).columns}
    if absent := sorted(declared.names - known):
        raise Unfit(
            f"Something is declared of {', '.join(absent)}, and there is no such column.",
            f"There are {', '.join(sorted(known)[:20])}.",
        )


def _said_of(table: Table, declared: Declared) -> Declared:
    """What is declared of this side's columns."""
    names = set(spread(table, declared.elements).columns)
    return Declared(declared.wide & names, declared.levels & names, declared.ignored & names, declared.elements)


def _notes(order: Order, inputs: Table, outputs: Table | None) -> Iterable[str]:
    if order.live:
        yield "It was learned from live requests: what was wrong from the start is normal to it."
    if not inputs.ordered:
        yield (
            "Its rows have no time, so windows were drawn at random: seasons and bursts will look like drift. "
            "Name a time column to have calm windows cut from neighbours."
        )
    if outputs is None:
        yield "It has no outputs, so drift of predictions is not watched: give answers to held-out rows."


def _on_hours(inputs: Measured, outputs: Measured | None) -> Iterable[str]:
    """Whether hours are told apart: once where it is the same of both sides."""
    said = [inputs.note, "" if outputs is None else outputs.note]
    if said[0] and (outputs is None or said[0] == said[1]):
        yield said[0]
        return
    for name, one in zip(("Inputs", "Outputs"), said, strict=True):
        if one:
            yield f"{name}: {one[:1].lower()}{one[1:]}"


def _hold_against(specs: tuple[TensorSpec, ...], table: Table, declared: Declared) -> None:
    schema = learned(table, _said_of(table, declared))
    columns = {column.name: column for column in schema.columns}
    known = {spec.name for spec in specs} | {name for names in declared.elements.values() for name in names}
    for spec in specs:
        _hold_one(spec, schema, declared, columns.keys())
    if extra := sorted(set(columns) - known):
        raise Unfit(
            f"The data has {', '.join(extra[:10])}, and the signature names no such tensor.",
            "Leave them out, declare them as ignored, or declare which tensor's elements they are.",
        )


def _hold_one(spec: TensorSpec, schema: Schema, declared: Declared, names: Iterable[str]) -> None:
    elements = declared.elements.get(spec.name, ())
    if elements and set(elements) <= set(names):
        return
    column = next((one for one in schema.columns if one.name == spec.name), None)
    if column is None:
        if spec.optional or spec.name in declared.ignored:
            return
        raise Unfit(
            f"The signature has {spec}, and the data has no column {spec.name}.",
            f"Rename a column, or declare which columns are the elements of {spec.name}.",
        )
    if (spec.datatype == _TEXT) is not (column.kind is Kind.LEVEL) and spec.name not in declared.levels:
        raise Unfit(f"The signature has {spec}, and the data's {spec.name} holds {column.kind.value}s.")
    if not any(_covers(shape, column.shape) for shape in (spec.shape, spec.shape[1:])):
        raise Unfit(f"The signature has {spec}, and the data's {spec.name} has rows of {list(column.shape)}.")


def _covers(wide: tuple[int, ...], narrow: tuple[int, ...]) -> bool:
    full = narrow or (1,)
    return len(wide or (1,)) == len(full) and all(w in (VARIES, n) for w, n in zip(wide or (1,), full, strict=True))
