"""Requests with two versions' answers, as a worker would hand them over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from serving.captured import Answered, Captured

JSON = b"content-type: application/json\r\n"
STABLE, CANDIDATE = 1, 2


def body_of(outputs: Mapping[str, tuple[str, list[Any]]], what: str = "outputs") -> bytes:
    """An answer in JSON: values by name, each with its datatype; one dimension each."""
    tensors = [
        {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}
        for name, (datatype, data) in outputs.items()
    ]
    return json.dumps({what: tensors}).encode()


def answered(version: int, outputs: Mapping[str, tuple[str, list[Any]]] | None, **said: Any) -> Answered:  # noqa: ANN401
    """One version's answer; None for one that failed."""
    body = b"{}" if outputs is None else body_of(outputs)
    well: dict[str, Any] = (
        {"outcome": "ok", "code": 200} if outputs is not None else {"outcome": "server_error", "code": 500}
    )
    fields = {"took_s": 0.010, **well, "headers": JSON, "body": body, **said}
    size = len(fields["body"]) if fields["body"] is not None else 2_000_000
    return Answered(version=version, **fields, size=size)


def pair(first: Answered, *copies: Answered, nonce: int = 1, **said: Any) -> Captured:  # noqa: ANN401
    """A request with the answer that its client got, and those of its copies."""
    fields: dict[str, Any] = {
        "model": "digits", "request_id": f"{nonce:068d}", "nonce": nonce, "epoch": 7, "at_s": 1_000.0 + nonce,
        "protocol": "http", "assigned": STABLE, "stable": STABLE, "salt": "ro_1", "segment": {}, "headers": JSON,
        "request": body_of({"pixels": ("FP32", [0.5, 1.5])}, "inputs"),
    }  # fmt: skip
    return Captured(**{**fields, **said}, first=first, copies=copies)


def labels(first: str, other: str, **said: Any) -> Captured:  # noqa: ANN401
    """A pair whose one output is a label."""
    one, two = ({"label": ("BYTES", [text])} for text in (first, other))
    return pair(answered(STABLE, one), answered(CANDIDATE, two), **said)
