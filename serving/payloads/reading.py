"""What is in the files: which there are, what each holds, and their rows one after the other.

A file is read a batch at a time, so that a large one costs no more memory than a small one. Whatever else lies in the
folder is passed over; a file that somebody names and that is none of ours is told so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tritonclient.utils import triton_to_np_dtype

from serving.errors import SluiceError
from serving.keeping.decoding import Tensor, Tensors
from serving.payloads.files import finished_in
from serving.payloads.form import FIXED, INPUT, OUTPUT, READER, shape_column
from serving.payloads.rows import Part

_BATCH: Final = 64


class NoPayloads(SluiceError):  # noqa: N818 - named after what there is
    """A file that is none of a payload log, or no row where one was asked for."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a file says of itself, without its rows.

    Attributes:
        path: where it is.
        model: whose rows it has.
        version: of that model.
        rows: how many.
        size: bytes.
        first: when its first request was answered; None for a file without rows.
        last: the same of the last.
        tensors: the datatype of each, by 'input.NAME' or 'output.NAME'.
    """

    path: Path
    model: str
    version: int
    rows: int
    size: int
    first: datetime | None
    last: datetime | None
    tensors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KeptRow:
    """One row of a file.

    Attributes:
        model: of the file.
        about: the fixed columns, by name.
        inputs: that are there and whose values were kept.
        outputs: the same of the outputs.
        shapes: of every tensor, hidden ones among them, by 'input.NAME' or 'output.NAME'.
    """

    model: str
    about: Mapping[str, Any]
    inputs: Tensors
    outputs: Tensors
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def hidden(self) -> frozenset[str]:
        """Inputs and outputs whose values were not kept."""
        return frozenset(self.about["redacted"])


def told_by(path: Path) -> Told:
    """What a file says of itself.

    Raises:
        NoPayloads: it is not there, or no file of a payload log.
    """
    with _opened(path) as file:
        about, metadata = _about(file, path), file.metadata
        first, last = _span(metadata)
        return Told(
            path, about["model"], about["version"], metadata.num_rows, path.stat().st_size,
            first, last, MappingProxyType(about["tensors"]),
        )  # fmt: skip


def told_in(folder: Path, model: str | None = None) -> list[Told]:
    """What the files of a log say of themselves, the oldest first; one that is removed meanwhile is left out.

    Raises:
        NoPayloads: one of them is no file of a payload log.
    """
    found = []
    for one in finished_in(folder, model):
        try:
            found.append(told_by(one.path))
        except NoPayloads:
            if one.path.exists():
                raise
    return found


def rows_in(paths: Iterable[Path]) -> Iterator[KeptRow]:
    """The rows of these files, one after the other.

    Raises:
        NoPayloads: one of them is no file of a payload log.
    """
    for path in paths:
        with _opened(path) as file:
            about = _about(file, path)
            try:
                for batch in file.iter_batches(batch_size=_BATCH):
                    yield from (_row(one, about) for one in batch.to_pylist())
            except (OSError, pa.ArrowException) as error:
                raise NoPayloads(f"{path} cannot be read to its end: {type(error).__name__}") from error


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise NoPayloads(f"there is no file {path}", "`sluice payloads list` names those that there are") from None
    except PermissionError:
        raise NoPayloads(f"{path} may not be read by this user", "it belongs to whom the gateway runs as") from None
    except (OSError, pa.ArrowException) as error:
        raise NoPayloads(f"{path} is no Parquet file that can be read", "name a file of a payload log") from error


def _about(file: pq.ParquetFile, path: Path) -> dict[str, Any]:
    """The file's own metadata, which say whether it is one of ours."""
    try:
        said = json.loads((file.schema_arrow.metadata or {})[b"sluice"])
        found = {"model": str(said["model"]), "version": int(said["version"]), "tensors": dict(said["tensors"])}
        reader = int(said["reader"])
    except (ValueError, KeyError, TypeError):
        raise NoPayloads(f"{path} is no file of a payload log", "`sluice payloads list` names those") from None
    if reader > READER:
        raise NoPayloads(f"{path} was written by a newer release", "read it with that one")
    return found


def _span(metadata: pq.FileMetaData) -> tuple[datetime | None, datetime | None]:
    """When the first and the last request were answered, from the statistics of the column."""
    at = [one.name for one in FIXED].index("at")
    groups = [metadata.row_group(index).column(at).statistics for index in range(metadata.num_row_groups)]
    known = [one for one in groups if one is not None and one.has_min_max]
    if not known:
        return None, None
    return min(_utc(one.min) for one in known), max(_utc(one.max) for one in known)


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _row(said: Mapping[str, Any], file: Mapping[str, Any]) -> KeptRow:
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, datatype in file["tensors"].items():
        shape, values = said[shape_column(name)], said[name]
        if shape is not None:
            shapes[name] = tuple(shape)
        if shape is not None and values is not None:
            tensors[name] = _tensor(datatype, tuple(shape), values)
    about = {one.name: said[one.name] for one in FIXED}
    return KeptRow(file["model"], about, _side(tensors, INPUT), _side(tensors, OUTPUT), shapes)


def _side(tensors: Tensors, side: str) -> Tensors:
    return {name.removeprefix(side): one for name, one in tensors.items() if name.startswith(side)}


def _tensor(kind: str, shape: tuple[int, ...], values: list[Any]) -> Tensor:
    if kind in {"TEXT", "BYTES"}:
        texts = np.empty(len(values), dtype=object)
        texts[:] = [one.encode() if isinstance(one, str) else one for one in values]
        return Tensor("BYTES", texts.reshape(shape))
    dtype = np.float32 if kind == "BF16" else triton_to_np_dtype(kind)
    return Tensor(kind, np.array(values, dtype=dtype).reshape(shape))


def once_each(rows: Iterable[KeptRow]) -> Iterator[KeptRow]:
    """The rows with the answers that clients got: each request once, whatever was copied."""
    return (row for row in rows if row.about["role"] == Part.FIRST)


def rows_with(request_id: str, folder: Path) -> Iterator[KeptRow]:
    """The rows of one request, wherever they are in a log; only those files are read that have one.

    Raises:
        NoPayloads: a file of the log cannot be read.
    """
    for one in reversed(finished_in(folder)):
        with _opened(one.path) as file:
            ids = file.read(columns=["request_id"]).column(0)
        if request_id in ids.to_pylist():
            yield from (row for row in rows_in([one.path]) if row.about["request_id"] == request_id)
