"""The binary tensor extension."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.differences import Why
from tests.conformance.http.exchange import Own, Vector
from tests.conformance.http.requests import FINE, JSON_LENGTH, ONES, binary, in_chunks, post
from tests.conformance.http.rows import ALL_BINARY, BINARY, FOUR, one

_HUGE = 99_999_999_999
_JSON_LENGTH = Own(400, Why.JSON_LENGTH, JSON_LENGTH)


def extension() -> Iterator[Vector]:
    """The binary tensor extension, and what its header may say."""
    yield one("binary in and out", binary(("FP32", [2], ONES["FP32"][1]), parameters=ALL_BINARY))
    two = (("FP32", [2], ONES["FP32"][1]), ("INT8", [2], ONES["INT8"][1]))
    yield one("binary, two tensors", binary(*two, parameters=ALL_BINARY))
    overridden = [{"name": "fp32", "parameters": {"binary_data": False}}, {"name": "int8"}]
    yield one("binary for all but one", binary(*two, parameters=ALL_BINARY, outputs=overridden))
    turned = [{"name": "fp32", "parameters": BINARY}, {"name": "int8"}]
    yield one("binary for one only", binary(*two, parameters={"binary_data_output": False}, outputs=turned))
    yield one("binary, too few bytes", binary(("FP32", [2], b"1234")))
    yield one("binary, too many bytes", binary(("FP32", [2], b"123456789")))
    raw = {"target": "/v2/models/compass/infer"}
    yield one("raw binary", post(FOUR, f"{JSON_LENGTH}: 0", **raw))
    yield one("raw binary of another size", post(FOUR + b"1", f"{JSON_LENGTH}: 0", **raw))
    yield one("raw binary for many inputs", post(FOUR, f"{JSON_LENGTH}: 0"))
    yield one("JSON length of all", post(FINE, f"{JSON_LENGTH}: {len(FINE)}"))
    yield one("JSON length with zeros before", post(FINE, f"{JSON_LENGTH}: 00{len(FINE)}"))
    yield one("JSON length too short", post(FINE, f"{JSON_LENGTH}: 5"))
    for length in (str(_HUGE), "-1", str(len(FINE) + 1), "abc", "", "1.5", "+5", "1e2", "0x50", "9" * 30):
        yield one(f"JSON length {length!r}", post(FINE, f"{JSON_LENGTH}: {length}"), _JSON_LENGTH)
    yield one("raw binary, JSON length 'abc'", post(FOUR, f"{JSON_LENGTH}: abc", **raw), _JSON_LENGTH)
    beyond = in_chunks(FINE, lines=(f"{JSON_LENGTH}: {_HUGE}",))
    yield one("JSON length beyond the chunks", beyond, _JSON_LENGTH)
