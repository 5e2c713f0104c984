"""What the tests of the payload log share: captured requests, and a log in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.captured import Answered, Captured
from serving.payloads.rules import PayloadRules

NOW_S = 1_763_800_000.0


def body(side: str, **tensors: tuple[str, Sequence[Any]]) -> bytes:
    """A message in JSON with these tensors of one dimension."""
    listed = [
        {"name": name, "datatype": datatype, "shape": [len(data)], "data": list(data)}
        for name, (datatype, data) in tensors.items()
    ]
    return json.dumps({side: listed}).encode()


def answered(
    version: int = 1, outcome: str = "ok", code: int = 200, body: bytes | None = None, headers: bytes = b""
) -> Answered:
    """An answer; without a body, one with an output."""
    said = PLAIN if body is None else body
    return Answered(version, outcome, code, 0.01, headers, said, len(said))


def captured(
    nonce: int = 1,
    *,
    model: str = "fraud",
    request: bytes | None = None,
    first: Answered | None = None,
    copies: tuple[Answered, ...] = (),
    segment: Mapping[str, str] | None = None,
    at_s: float = NOW_S,
) -> Captured:
    """A request over HTTP."""
    return Captured(
        model, f"id-{nonce}", nonce, 7, at_s, "http", 1, 1, "shadow-salt" if copies else "", segment or {}, b"",
        ASKED if request is None else request, first or answered(), copies,
    )  # fmt: skip


def rules(folder: Path, **more: Any) -> PayloadRules:  # noqa: ANN401 - any of its fields
    """Of a log that keeps everything."""
    return PayloadRules(folder, **{"share_ppm": 1_000_000, **more})


ASKED = body("inputs", amount=("FP32", [1.5, 2.5]), card=("BYTES", ["4111", "4222"]))
PLAIN = body("outputs", score=("FP32", [0.25, 0.75]))
