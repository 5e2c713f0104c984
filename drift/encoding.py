"""Inputs that a model encodes: what stands in the place of a tensor is the embedding that a named model makes of it.

Which tensor, and which model of which version makes what of it, is declared in the baseline: training rows and live
ones go through the same version of the same model, or through none. The embedding is a column of its own,
`tensor.output`, and `drift.schema` takes it from there as it would any tensor. A row that lacks a value, or that the
encoder refuses, has no embedding and counts as missing; a tensor that is not what was trained on is a break.

Who asks the encoder is `drift.asking`'s to say; nothing here does I/O.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift.errors import Unfit
from drift.flattening import Part, Widths
from drift.samples import dtype_of
from drift.schema import Break, Broken
from drift.tables import Table

Embedding = NDArray[np.float32]
"""One for each row, shape (rows, width); a row of NaN where there is none."""

TEXT: Final = "BYTES"
WIDEST: Final = 16_384
"""Numbers of one embedding."""
MOST_AT_ONCE: Final = 64
"""Rows of one request."""
MOST_ENCODERS: Final = 8
"""Of one version."""

_NAME: Final = re.compile(r"[^\x00-\x1f/?#\\]{1,256}")
_FLOATS: Final = frozenset({"FP16", "FP32", "FP64"})


@dataclass(frozen=True)
class Encoder:
    """Which model makes what of which input.

    Attributes:
        of: the input of the watched model.
        shape: of one row of it.
        model: that encodes.
        version: of that model.
        server: where it is, a name among `drift.encoders`; empty for the gateway of the installation.
        takes: its input.
        datatype: of that input, as the protocol calls it.
        takes_shape: of one row of that input; it has as many elements as `shape`.
        gives: its output.
        width: numbers of one row of that output.
        rows_at_once: in one request, at most.
        batched: whether the first axis of its tensors is the row; else each row is a request of its own.
        binary: whether tensors may follow the JSON as bytes.

    Raises:
        Unfit: one of them cannot be.
    """

    of: str
    shape: tuple[int, ...]
    model: str
    version: int
    server: str
    takes: str
    datatype: str
    takes_shape: tuple[int, ...]
    gives: str
    width: int
    rows_at_once: int = MOST_AT_ONCE
    batched: bool = True
    binary: bool = True

    def __post_init__(self) -> None:
        for name in (self.of, self.model, self.takes, self.gives, self.server or "-"):
            if type(name) is not str or not _NAME.fullmatch(name):
                raise Unfit(f"{name!r:.80} is no name of a model, a tensor or a server of an encoder.")
        for shape in (self.shape, self.takes_shape):
            if any(type(size) is not int or size < 1 for size in shape):
                raise Unfit(f"An encoder takes rows of a fixed shape, not {list(shape)!r:.80}.")
        if math.prod(self.shape) != math.prod(self.takes_shape):
            raise Unfit(f"A row of {list(self.shape)} is none of {list(self.takes_shape)}: {self} cannot take it.")
        if self.datatype != TEXT and dtype_of(self.datatype) is None:
            raise Unfit(f"{self} takes {self.datatype!r:.40}, which nothing is sent as.")
        bounds = {"version": (1, 2**31), "width": (1, WIDEST), "rows_at_once": (1, MOST_AT_ONCE)}
        for name, (least, most) in bounds.items():
            if type(value := getattr(self, name)) is not int or not least <= value <= most:
                raise Unfit(f"The {name} of an encoder is {least} to {most:,}, not {value!r:.40}.")

    def __str__(self) -> str:
        """'embedder version 3'."""
        return f"{self.model} version {self.version}{f' at {self.server}' if self.server else ''}"

    @property
    def words(self) -> str:
        """'image by embedder version 3 (embedding)'."""
        return f"{self.of} by {self} ({self.gives})"

    @property
    def column(self) -> str:
        """The name under which embeddings stand among the version's inputs."""
        return f"{self.of}.{self.gives}"

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)


def encoder_of(plain: Mapping[str, Any]) -> Encoder:
    """The encoder in plain values.

    Raises:
        Unfit: it cannot be.
        KeyError, TypeError: they are none.
    """
    shapes = {name: tuple(plain[name]) for name in ("shape", "takes_shape")}
    return Encoder(**{**plain, **shapes})


def check(encoders: Sequence[Encoder], columns: Iterable[str]) -> None:
    """Refuses encoders that cannot stand beside each other and these columns.

    Raises:
        Unfit: they cannot.
    """
    known, of = set(columns), [one.of for one in encoders]
    if len(of) > MOST_ENCODERS or len(set(of)) < len(of):
        raise Unfit(f"An input has one encoder, and a version has {MOST_ENCODERS} at most.")
    if taken := sorted(known & {one.column for one in encoders}):
        raise Unfit(f"An embedding would be called {taken[0]}, and there is such a column.", "Rename the column.")
    for one in encoders:
        if one.of not in known:
            raise Unfit(f"{one} is to encode {one.of}, and there is no such column.", f"There are {_some(known)}.")


def widths(encoders: Iterable[Encoder], found: Widths) -> dict[str, int]:
    """Values of one row of each tensor as it comes, where these are told by a schema that has embeddings.

    Args:
        encoders: of the version.
        found: values of one row of each column.
    """
    encoded = {one.column for one in encoders}
    rest = {name: width for name, width in found.items() if name not in encoded}
    return {**rest, **{one.of: math.prod(one.shape) for one in encoders}}


def broken(encoder: Encoder, table: Table) -> Break | None:
    """Why the encoder cannot be asked about these rows; None where it can."""
    name = encoder.of
    values = table.columns.get(name)
    if values is None:
        return Break(Broken.ABSENT, name, f"{name!r} is not there.")
    if not _is_shaped(values, encoder):
        said = f"{name!r} has rows of the shape {list(values.shape[1:])}, and was trained on {list(encoder.shape)}."
        return Break(Broken.SHAPE, name, said)
    if values.dtype.kind not in ("OSU" if encoder.datatype == TEXT else "biuf"):
        held = "texts" if encoder.datatype == TEXT else "numbers"
        return Break(Broken.KIND, name, f"{name!r} holds something else where it held {held}.")
    return None


def sent(encoder: Encoder, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Rows as the encoder takes them, shape (rows, *takes_shape), and the places of those that can be sent.

    Args:
        encoder: that `broken` has nothing against.
        values: the column, shape (rows, *shape).
    """
    flat = values.reshape(len(values), -1)
    if encoder.datatype == TEXT:
        whole = np.array([all(one is not None and one == one for one in row) for row in flat.tolist()], bool)  # noqa: PLR0124 - NaN is not
        made = np.empty(flat.shape, object)
        made[:] = [[_bytes(one) for one in row] for row in flat.tolist()]
    else:
        whole = np.isfinite(flat.astype(np.float64)).all(axis=1)
        with np.errstate(all="ignore"):
            made = np.where(whole[:, np.newaxis], flat, 0).astype(_numbers(encoder))
    return made.reshape(len(values), *encoder.takes_shape), np.flatnonzero(whole)


def zeros(encoder: Encoder) -> NDArray[Any]:
    """One row of nothing in particular, in the encoder's own shape, by which it is found out whether it answers."""
    if encoder.datatype == TEXT:
        return np.full((1, *encoder.takes_shape), b"", object)
    return np.zeros((1, *encoder.takes_shape), _numbers(encoder))


def wanted(parts: Iterable[Part], of: Mapping[int, Sequence[Encoder]]) -> dict[Encoder, NDArray[Any]]:
    """What is to be encoded of these parts: the column of each encoder, one part after the other.

    Args:
        parts: as they were read.
        of: encoders of versions that have any.
    """
    found: dict[Encoder, list[NDArray[Any]]] = {}
    for part in parts:
        for encoder in of.get(part.version, ()):
            if broken(encoder, part.inputs) is None:
                found.setdefault(encoder, []).append(_rows(encoder, part))
    return {encoder: _beside(encoder, columns) for encoder, columns in found.items()}


def with_embeddings(
    parts: Iterable[Part], of: Mapping[int, Sequence[Encoder]], found: Mapping[Encoder, Embedding]
) -> list[Part]:
    """The same parts with what `wanted` led to, in the same order."""
    at = dict.fromkeys(found, 0)
    made = []
    for part in parts:
        mine = dict(part.embedded)
        for encoder in of.get(part.version, ()):
            if broken(encoder, part.inputs) is None:
                begin, at[encoder] = at[encoder], at[encoder] + part.rows
                mine[encoder.column] = found[encoder][begin : at[encoder]]
        made.append(replace(part, embedded=mine))
    return made


def applied(
    encoders: Iterable[Encoder], table: Table, embedded: Mapping[str, Embedding]
) -> tuple[Table, tuple[Break, ...]]:
    """Rows with embeddings in the place of what they were made of, and what kept some from being made.

    Args:
        encoders: of the version.
        table: rows as they came.
        embedded: by the embedding's column; what is not there is missing in all rows.
    """
    columns, breaks = dict(table.columns), []
    for encoder in encoders:
        if (said := broken(encoder, table)) is not None:
            breaks.append(said)
        columns.pop(encoder.of, None)
        given = embedded.get(encoder.column)
        columns[encoder.column] = np.full((table.rows, encoder.width), np.nan, np.float32) if given is None else given
    return Table(columns, table.ordered), tuple(breaks)


def check_output(encoder: Encoder, datatype: str, shape: Sequence[int], rows: int) -> None:
    """Refuses an answer that is not what was declared.

    Raises:
        Unfit: it is not.
    """
    due = rows * encoder.width
    if datatype not in _FLOATS or math.prod(shape) != due or (encoder.batched and list(shape)[:1] != [rows]):
        raise Unfit(
            f"{encoder} answers {rows} rows with {datatype:.20} {list(shape)!r:.80} as {encoder.gives}, and "
            f"{encoder.width} numbers a row were declared."
        )


def _rows(encoder: Encoder, part: Part) -> NDArray[Any]:
    return part.inputs.columns[encoder.of].reshape(part.rows, *encoder.shape)


def _is_shaped(values: NDArray[Any], encoder: Encoder) -> bool:
    shape = tuple(values.shape[1:])
    return shape == encoder.shape or math.prod(shape) == math.prod(encoder.shape) == 1


def _numbers(encoder: Encoder) -> np.dtype[Any]:
    found = dtype_of(encoder.datatype)
    return np.dtype(np.float64) if found is None else found


def _beside(encoder: Encoder, columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One after the other; numbers of several types are as wide as the widest."""
    if encoder.datatype == TEXT:
        columns = [one.astype(object) for one in columns]
    return np.concatenate(columns)


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"" if value is None else str(value).encode("utf-8", "replace")


def _some(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:20])
