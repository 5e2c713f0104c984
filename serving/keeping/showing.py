"""A pair of answers as people are shown it: inputs and both outputs, cut short, without what is never to be kept."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from router.agreement import Comparison
from serving.captured import Captured
from serving.diffs import KeptPair
from serving.keeping.comparing import Held
from serving.keeping.decoding import Tensor, Tensors, Unreadable, request_in

MOST_BYTES: Final = 4_096
"""Of one tensor's values, as JSON."""
MOST_TENSORS: Final = 32
_MOST_VALUES: Final = 1_024


def kept_pair(
    captured: Captured, first: Tensors, other: Tensors, held: Mapping[str, Held], rules: Comparison
) -> KeptPair:
    """The pair as it is kept.

    Args:
        captured: the request.
        first: the outputs that the client got.
        other: those of the copy.
        held: how they were found to differ.
        rules: that name what is redacted.
    """
    differ = {name: one for name, one in held.items() if one.kind}
    order = [*differ, *(name for name in held if name not in differ)]
    return KeptPair(
        captured.request_id,
        captured.at_s,
        captured.epoch,
        captured.protocol,
        max((one.badness for one in differ.values()), default=0.0),
        dict(captured.segment),
        {name: {"kind": one.kind, "size": one.size} for name, one in list(differ.items())[:MOST_TENSORS]},
        _inputs(captured, rules.redact),
        _shown(first, order, rules.redact),
        _shown(other, order, rules.redact),
    )


def _inputs(captured: Captured, redact: Collection[str]) -> dict[str, dict[str, Any]]:
    """What was asked; nothing where that cannot be read, which is no reason to keep no answers."""
    if captured.request is None:
        return {}
    try:
        inputs = request_in(captured.protocol, captured.headers, captured.request).inputs
    except Unreadable:
        return {}
    return _shown(inputs, list(inputs), redact)


def _shown(tensors: Tensors, order: Collection[str], redact: Collection[str]) -> dict[str, dict[str, Any]]:
    names = [name for name in order if name in tensors][:MOST_TENSORS]
    return {name: shown(tensors[name], hidden=name in redact) for name in names}


def shown(tensor: Tensor, *, hidden: bool = False) -> dict[str, Any]:
    """One tensor: the first of its values, in order, as many as fit; bytes that are no text as base64.

    Args:
        tensor: which.
        hidden: whether its values are never to be shown.
    """
    said: dict[str, Any] = {"datatype": tensor.datatype, "shape": list(tensor.shape)}
    if hidden:
        return {**said, "redacted": True}
    values: list[Any] = []
    room = MOST_BYTES
    for one in tensor.values.reshape(-1)[:_MOST_VALUES].tolist():
        value = _plain(one)
        room -= len(json.dumps(value)) + 1
        if room < 0:
            break
        values.append(value)
    return {**said, "values": values, "cut": len(values) < tensor.values.size}


def _plain(value: Any) -> Any:  # noqa: ANN401 (any element)
    """As JSON can say it: NaN and infinities as text."""
    if isinstance(value, bytes):
        cut = value[:MOST_BYTES]
        try:
            return cut.decode()
        except UnicodeDecodeError:
            return f"base64:{base64.b64encode(cut).decode()}"
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    return value
