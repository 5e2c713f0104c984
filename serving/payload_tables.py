"""What is in a payload log, and what came of a replay: for a terminal, and as JSON.

Names and values are what strangers sent. At a terminal they are written in ASCII, with everything else escaped.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from serving.keeping.decoding import Tensor
from serving.payloads.counts import Counts
from serving.payloads.form import INPUT, OUTPUT
from serving.payloads.reading import KeptRow, Told
from serving.payloads.replaying import Summary
from serving.rollout_standing import printable
from serving.tables import console, table

_SHOWN: Final = 8
"""Elements of a tensor that are shown."""
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1_024


def listed(files: Sequence[Told], counts: Counts, folder: Path) -> dict[str, Any]:
    """Files and versions as JSON values.

    Args:
        files: the oldest first.
        counts: what became of rows, in all processes that wrote into the folder.
        folder: of the log.
    """
    by_version = sorted(files, key=lambda one: (one.model, one.version))
    groups = [list(group) for _, group in groupby(by_version, key=lambda one: (one.model, one.version))]
    return {
        "folder": str(folder),
        "versions": [_together(group) for group in groups],
        "files": [_file(one) for one in files],
        "rows": sum(one.rows for one in files),
        "bytes": sum(one.size for one in files),
        "dropped": dict(counts.dropped),
        "removed_files": counts.removed,
    }


def show_listed(said: Mapping[str, Any], *, enabled: bool, every: bool) -> None:
    """The same at a terminal; with `every`, each file."""
    out = console()
    out.print(f"{said['folder']}: {len(said['files'])} files, {said['rows']:,} rows, {_size(said['bytes'])}")
    names = ("model", "version", "files", "rows", "size", "from", "to")
    rows = [
        (printable(one["model"]), str(one["version"]), str(one["files"]), f"{one['rows']:,}", _size(one["bytes"]),
         one["from"] or "", one["to"] or "")
        for one in said["versions"]
    ]  # fmt: skip
    if rows:
        out.print(table("kept", names, rows))
    if every:
        for one in said["files"]:
            out.print(f"{printable(one['path'])}  {one['rows']:,} rows, {_size(one['bytes'])}", soft_wrap=True)
    if said["dropped"]:
        out.print(f"dropped: {_counted(said['dropped'])}")
    if said["removed_files"]:
        out.print(f"removed to stay within the bounds: {said['removed_files']} files")
    if not enabled:
        out.print("nothing is kept at present: payloads.enabled is false")


def row_plain(row: KeptRow) -> dict[str, Any]:
    """A row as JSON values; what JSON does not know (NaN, bytes that are no text) as texts and objects."""
    about = {name: _plain(value) for name, value in row.about.items()}
    return {
        "model": row.model,
        **about,
        "segment": dict(row.about["segment"]),
        "inputs": _side(row, INPUT, row.inputs),
        "outputs": _side(row, OUTPUT, row.outputs),
    }


def show_row(row: KeptRow) -> None:
    """A row at a terminal, long tensors cut."""
    out = console()
    about = row.about
    whose = f"{printable(row.model)} version {about['answered']} ({about['role']})"
    ended = f"{about['outcome']} ({about['code']}) after {about['took_s'] * 1_000:.1f} ms"
    line = f"{whose}, {about['at']:%Y-%m-%d %H:%M:%S} UTC: {ended}, kept as {about['kept']}"
    out.print(f"{about['request_id']}  {line}", soft_wrap=True)
    for side, tensors in ((INPUT, row.inputs), (OUTPUT, row.outputs)):
        for name, one in _side(row, side, tensors).items():
            out.print(f"  {side[:-1]} {_ascii(name)} {list(one['shape'])}: {_cut(one)}", soft_wrap=True)
    if about["unread"]:
        out.print(f"  not read: {about['unread']}", soft_wrap=True)


def show_summary(summary: Summary, *, marked: bool, compared: bool) -> None:
    """What came of a replay."""
    out = console()
    out.print(f"{summary.rows:,} requests kept, {summary.sent:,} sent, {summary.answered:,} answered well")
    if summary.skipped:
        out.print(f"not sent: {_counted(summary.skipped)}")
    if summary.failed:
        out.print(f"failed: {_counted(summary.failed)}")
    if compared:
        out.print(
            f"compared: {summary.compared:,}, the same {summary.same:,}, otherwise {summary.differ:,}; "
            f"nothing to compare with: {summary.uncompared:,}"
        )
        rows = [
            (_ascii(name), f"{one.compared:,}", f"{one.differ:,}", _counted(one.kinds), f"{one.largest:.6g}")
            for name, one in sorted(summary.outputs.items())
        ]
        if rows:
            out.print(table("outputs", ("output", "compared", "otherwise", "how", "largest difference"), rows))
        for request_id in summary.differing:
            out.print(f"otherwise: {request_id}", soft_wrap=True)
    if not marked:
        out.print("the requests were not marked synthetic: the key may not do that, and they were counted as traffic")


def _together(files: Sequence[Told]) -> dict[str, Any]:
    return {
        "model": files[0].model,
        "version": files[0].version,
        "files": len(files),
        "rows": sum(one.rows for one in files),
        "bytes": sum(one.size for one in files),
        "from": _moment(min((one.first for one in files if one.first), default=None)),
        "to": _moment(max((one.last for one in files if one.last), default=None)),
    }


def _file(one: Told) -> dict[str, Any]:
    return {
        "path": str(one.path), "model": one.model, "version": one.version, "rows": one.rows, "bytes": one.size,
        "from": _moment(one.first), "to": _moment(one.last), "tensors": dict(one.tensors),
    }  # fmt: skip


def _side(row: KeptRow, side: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Every tensor of one side; one whose values are not kept has null for them."""
    found = {}
    for full, shape in row.shapes.items():
        if full.startswith(side):
            name = full.removeprefix(side)
            one = tensors.get(name)
            values = None if one is None else [_element(value) for value in one.values.ravel().tolist()]
            found[name] = {"datatype": one.datatype if one else None, "shape": list(shape), "values": values}
    return found


def _element(value: Any) -> Any:  # noqa: ANN401 - a number, a truth value or bytes
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": b64encode(value).decode()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a fixed column has
    return value.isoformat() if isinstance(value, datetime) else value


def _cut(one: Mapping[str, Any]) -> str:
    if one["values"] is None:
        return "not kept (redacted)"
    shown = ", ".join(json.dumps(value) for value in one["values"][:_SHOWN])
    return shown + (f", … {len(one['values']):,} in all" if len(one["values"]) > _SHOWN else "")


def _ascii(text: str) -> str:
    return json.dumps(text)[1:-1]


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")


def _counted(counts: Mapping[str, int]) -> str:
    pairs: Iterable[tuple[str, int]] = sorted(counts.items())
    return ", ".join(f"{name} {count:,}" for name, count in pairs)


def _size(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < _STEP:
            return f"{count:.4g} {unit}"
        count /= _STEP
    return f"{count:.4g} {_UNITS[-1]}"
