"""Inference requests in JSON, good and bad."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

from tests.conformance.http.exchange import Vector
from tests.conformance.http.requests import FINE, INFER, JSON_LENGTH, ONES, binary, document, post, strings, tensor
from tests.conformance.http.rows import ALL_BINARY, BINARY, FOUR, TWO, one
from tests.conformance.models.repository import DATATYPES

_ODD = {"FP32": struct.pack("<3f", float("nan"), float("inf"), float("-inf")),
        "FP64": struct.pack("<3d", float("nan"), float("inf"), float("-inf"))}  # fmt: skip
_NUL = ("BYTES", [2], strings(b"a\0b", b"\0"))


def documents() -> Iterator[Vector]:
    """JSON, good and bad. Each bad one is followed by a good request: on its connection here, by all in the sweep."""
    yield one("infer", post(FINE))
    yield one("infer with a version", post(FINE, target="/v2/models/echo/versions/1/infer"))
    yield one("infer with a query", post(FINE, target=f"{INFER}?a=b&c=%64"))
    yield one("infer with an id", post(document(TWO, id="order 7 \u20ac")))
    yield one("infer with parameters", post(document(TWO, parameters={"priority": 1, "timeout": 5, "mine": "x"})))
    yield one("malformed JSON", post(b'{"inputs": [}'))
    yield one("JSON cut short", post(FINE[:-3]))
    yield one("JSON and more", post(FINE + b"x"))
    yield one("JSON after a byte order mark", post(b"\xef\xbb\xbf" + FINE))
    yield one("JSON null", post(b"null"))
    yield one("an empty body", post(b""))
    yield one("an id that is no string", post(document(TWO, id=5)))
    yield one("inputs that are no list", post(b'{"inputs": {}}'))
    yield one("an input twice", post(document(TWO, TWO)))
    yield one("an unknown input", post(document({**TWO, "name": "nope"})))
    yield one("an unknown datatype", post(document({**TWO, "datatype": "FP99"})))
    yield one("another datatype", post(document({**TWO, "datatype": "FP64"})))
    yield one("a string for a number", post(document({**TWO, "data": ["a", "b"]})))


def peculiar() -> Iterator[Vector]:
    """What Triton alone reads in it."""
    yield one("infer in absolute form", post(FINE, target=f"http://test{INFER}"))
    yield one("infer in a sequence", post(document(TWO, parameters={"sequence_id": 7, "sequence_start": True})))
    yield one("a reserved parameter", post(document(TWO, parameters={"triton_x": 1})))
    region = {"shared_memory_region": "x", "shared_memory_byte_size": 8}
    yield one(
        "a shared-memory region",
        post(document({"name": "fp32", "datatype": "FP32", "shape": [2], "parameters": region})),
    )


def datatypes() -> Iterator[Vector]:
    """Every datatype in JSON; what JSON cannot hold is the server's to refuse."""
    for datatype in DATATYPES:
        yield one(f"{datatype} in JSON", post(document(tensor(datatype, ONES[datatype][0]))))


def binary_datatypes() -> Iterator[Vector]:
    """Every datatype in binary."""
    for datatype in DATATYPES:
        _, data = ONES[datatype]
        wanted = [{"name": datatype.lower(), "parameters": BINARY}]
        yield one(f"{datatype} binary", binary((datatype, [2], data), outputs=wanted))
        yield one(f"{datatype} binary in, JSON out", binary((datatype, [2], data)))
        yield one(f"{datatype} without elements", binary((datatype, [0], b""), parameters=ALL_BINARY))


def values() -> Iterator[Vector]:
    """Values that are hard to write in JSON."""
    yield one("NaN in JSON", post(FINE.replace(b"2.0", b"NaN")))
    yield one("a number beyond a double", post(FINE.replace(b"2.0", b"1e999")))
    yield one("an integer beyond its type", post(document(tensor("INT8", [300]))))
    yield one("BYTES with NUL in JSON", post(document(tensor("BYTES", ["a\0b", "\0"]))))
    yield one("BYTES in UTF-8", post(json.dumps({"inputs": [tensor("BYTES", ["grün"])]}, ensure_ascii=False).encode()))


def binary_values() -> Iterator[Vector]:
    """Values that are hard to write, sent in binary."""
    for datatype, data in _ODD.items():
        yield one(f"NaN and Inf of {datatype}", binary((datatype, [3], data)))
        yield one(f"NaN and Inf of {datatype}, binary", binary((datatype, [3], data), parameters=ALL_BINARY))
    yield one("BYTES with NUL", binary(_NUL))
    yield one("BYTES with NUL, binary", binary(_NUL, parameters=ALL_BINARY))
    yield one("BYTES that are no UTF-8", binary(("BYTES", [1], strings(b"\xff\xfe"))))
    yield one("BYTES longer than they are", binary(("BYTES", [1], struct.pack("<I", 999) + b"a")))


def shapes() -> Iterator[Vector]:
    """Shapes that do not fit."""
    for name, shape in {
        "a negative dimension": [-2],
        "more than the data": [3],
        "less than the data": [1],
        "one dimension too many": [1, 2],
        "a product that overflows": [2**33, 2**33],
        "a product that overflows to 0": [2**62, 4],
        "a dimension beyond 64 bits": [10**30],
        "a dimension beyond signed 64 bits": [2**63],
    }.items():
        yield one(f"shape with {name}", post(document({**TWO, "shape": shape})))
    yield one("shape with a fraction", post(document({**TWO, "shape": [2.0]})))
    yield one("shape with no element", post(document(tensor("FP32", [], [0]))))


def binary_shapes() -> Iterator[Vector]:
    """The same in binary."""
    overflow = [{"name": "fp32", "datatype": "FP32", "shape": [2**33, 2**33], "parameters": {"binary_data_size": 0}}]
    body = document(*overflow)
    yield one("shape that overflows, binary", post(body, f"{JSON_LENGTH}: {len(body)}"))
    promised = document({"name": "fp32", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 2**62}})
    yield one("more bytes promised than come", post(promised, f"{JSON_LENGTH}: {len(promised)}"))


def outputs() -> Iterator[Vector]:
    """What is asked back."""
    yield one("an output twice", post(document(TWO, outputs=[{"name": "fp32"}, {"name": "fp32"}])))
    yield one("an unknown output", post(document(TWO, outputs=[{"name": "nope"}])))
    yield one("outputs that are no list", post(document(TWO, outputs=5)))


def classes() -> Iterator[Vector]:
    """Triton's classification extension, with a model that batches."""
    four = ("FP32", [1, 4], FOUR)
    best = [{"name": "fp32", "parameters": {"classification": 2}}]
    yield one("classes", binary(four, model="compass", outputs=best))
    best_binary = [{"name": "fp32", "parameters": {"classification": 2, **BINARY}}]
    yield one("classes, binary", binary(four, model="compass", outputs=best_binary))
    every = [{"name": "fp32", "parameters": {"classification": 99}}]
    yield one("more classes than there are", binary(four, model="compass", outputs=every))
    rows = ("FP32", [2, 4], FOUR * 2)
    yield one("classes of a batch", binary(rows, model="compass", outputs=best))
    yield one("a batch too large", binary(("FP32", [9, 4], FOUR * 9), model="compass"))


def sequences() -> Iterator[Vector]:
    """Triton's sequence extension, with a model that adds up."""
    steps = (
        _in_sequence(3, sequence_id=41, sequence_start=True)
        + _in_sequence(4, sequence_id=41)
        + _in_sequence(5, sequence_id=41, sequence_end=True)
    )
    yield Vector("a sequence of three", (steps,), count=3)
    yield one("a sequence that begins in the middle", _in_sequence(3, sequence_id=42))
    yield one("a sequence without its id", _in_sequence(3, sequence_start=True))
    yield one("a sequence of one", _in_sequence(3, sequence_id=43, sequence_start=True, sequence_end=True))


def _in_sequence(value: int, **parameters: int) -> bytes:
    given = {"name": "value", "datatype": "INT32", "shape": [1, 1], "data": [value]}
    return post(document(given, parameters=parameters), target="/v2/models/sums/infer")
