"""What one captured request is in the log: a row for the answer that the client got, and one for each copy's.

Nobody else looks at values here: what is redacted is gone before a row exists. A body that cannot be read leaves a row
without tensors, for the failure is worth knowing of, and says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa

from serving.captured import Answered, Captured
from serving.keeping.decoding import Request, Tensor, Tensors, Unreadable, answer_in, request_in
from serving.payloads.form import FIXED, INPUT, OUTPUT, Form, form_of, shape_column, values_in
from serving.payloads.rules import Kept, redacted

_PER_ROW: Final = 512
_PER_TEXT: Final = 48
_MICROSECONDS: Final = 1_000_000
_OK: Final = "ok"


class Part(StrEnum):
    """Whose answer a row has."""

    FIRST = "first"
    """The one that the client got."""
    SHADOW = "shadow"
    """A copy's, of another version."""
    NOISE = "noise"
    """A copy's, of the same version: how far one version's answers differ."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request with one answer.

    Attributes:
        model: its name.
        version: that answered.
        about: the values of the fixed columns, by name.
        tensors: by 'input.NAME' or 'output.NAME'.
        hidden: names among those whose values are not kept.
        form: that they need.
    """

    model: str
    version: int
    about: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    hidden: frozenset[str]
    form: Form

    @property
    def key(self) -> tuple[int, str, int]:
        """What no two rows have in common: nonce, whose answer, version."""
        return self.about["nonce"], self.about["role"], self.version

    @property
    def size(self) -> int:
        """Roughly the bytes that it takes until it is written."""
        return _PER_ROW + sum(map(_size, self.tensors.values()))


def rows_of(captured: Captured, kept: Kept, patterns: Iterable[str] = (), exact: Iterable[str] = ()) -> Iterator[Row]:
    """Its rows, the client's first.

    Args:
        captured: the request with its answers.
        kept: why it is kept.
        patterns: names whose values are not kept, as in `serving.payloads.rules.redacted`; so is `exact`.
        exact: see patterns.
    """
    request, unread = _request(captured)
    rule = (tuple(patterns), tuple(exact))
    for answer, part in _answers(captured):
        outputs, why = _outputs(captured.protocol, answer)
        hidden = redacted(captured.model, {*request.inputs, *outputs}, *rule)
        yield Row(
            captured.model,
            answer.version,
            {
                **_about(captured, answer, part),
                "kept": kept.value,
                "unread": "; ".join(filter(None, (unread, why))) or None,
                "redacted": sorted(hidden),
                "segment": _segment(captured, rule),
                "asked": [{"name": one.name, "classes": one.classes} for one in request.asked],
            },
            {INPUT + name: one for name, one in request.inputs.items()}
            | {OUTPUT + name: one for name, one in outputs.items()},
            frozenset(side + name for name in hidden for side in (INPUT, OUTPUT)),
            form_of(request.inputs, outputs),
        )


def batch_of(rows: Sequence[Row], form: Form, schema: pa.Schema) -> pa.RecordBatch:
    """The rows as columns.

    Args:
        rows: each of a form that `form` holds.
        form: of the file.
        schema: of the file, which that form made.
    """
    columns: dict[str, list[Any]] = {one.name: [row.about[one.name] for row in rows] for one in FIXED}
    for name, kind in form.columns.items():
        tensors = [row.tensors.get(name) for row in rows]
        columns[shape_column(name)] = [None if one is None else list(one.shape) for one in tensors]
        columns[name] = [
            None if one is None or name in row.hidden else values_in(one, kind)
            for row, one in zip(rows, tensors, strict=True)
        ]
    return pa.record_batch([pa.array(columns[one.name], type=one.type) for one in schema], schema=schema)


def _request(captured: Captured) -> tuple[Request, str]:
    if captured.request is None:
        return Request({}), "the request is longer than may be captured"
    try:
        return request_in(captured.protocol, captured.headers, captured.request), ""
    except Unreadable as error:
        return Request({}), f"the request: {error}"


def _outputs(protocol: str, answer: Answered) -> tuple[Tensors, str]:
    """What it answered; a failure has no outputs, and its words may quote the request."""
    if answer.outcome != _OK:
        return {}, ""
    if answer.body is None:
        return {}, "the answer is longer than may be captured"
    try:
        return answer_in(protocol, answer.headers, answer.body), ""
    except Unreadable as error:
        return {}, f"the answer: {error}"


def _answers(captured: Captured) -> Iterator[tuple[Answered, Part]]:
    yield captured.first, Part.FIRST
    for copy in captured.copies:
        yield copy, Part.NOISE if copy.version == captured.first.version else Part.SHADOW


def _about(captured: Captured, answer: Answered, part: Part) -> dict[str, Any]:
    return {
        "request_id": captured.request_id,
        "nonce": captured.nonce,
        "at": round(captured.at_s * _MICROSECONDS),
        "epoch": captured.epoch,
        "protocol": captured.protocol,
        "assigned": captured.assigned,
        "answered": answer.version,
        "stable": captured.stable,
        "role": part.value,
        "shadow": captured.salt,
        "outcome": answer.outcome,
        "code": answer.code,
        "took_s": float(answer.took_s),
    }


def _segment(captured: Captured, rule: tuple[tuple[str, ...], tuple[str, ...]]) -> list[tuple[str, str | None]]:
    hidden = redacted(captured.model, captured.segment, *rule)
    return [(name, None if name in hidden else value) for name, value in captured.segment.items()]


def _size(tensor: Tensor) -> int:
    if tensor.datatype != "BYTES":
        return int(tensor.values.nbytes)
    return sum(_PER_TEXT + len(one) for one in tensor.values.ravel())
