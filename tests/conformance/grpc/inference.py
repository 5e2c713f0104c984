"""Unary inference: typed contents and raw, good and bad."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tritonclient.grpc import service_pb2 as triton

from tests.conformance.differences import Why
from tests.conformance.grpc.calls import Own, Vector
from tests.conformance.grpc.messages import INFER, TYPED, Tensor, encoded, field, infer, varint
from tests.conformance.http.requests import ONES, strings
from tests.conformance.models.repository import DATATYPES

FINE = Tensor("FP32", (2,), struct.pack("<2f", 1.0, 2.0))
UNKNOWN_MODEL = Own("NOT_FOUND", Why.UNKNOWN_MODEL, "There is no model 'nope'")
UNKNOWN_VERSION = Own("NOT_FOUND", Why.UNKNOWN_MODEL, "has no version")
_NO_SUCH = Own("NOT_FOUND", Why.UNKNOWN_MODEL)
MALFORMED = Own("INVALID_ARGUMENT", Why.MALFORMED)
MAX_MESSAGE = 64 * 1024 * 1024
_FOUR = struct.pack("<4f", 1.0, 4.0, 3.0, 2.0)
_ODD = {"FP32": struct.pack("<3f", float("nan"), float("inf"), float("-inf")),
        "FP64": struct.pack("<3d", float("nan"), float("inf"), float("-inf")),
        "FP16": struct.pack("<3e", float("nan"), float("inf"), float("-inf")),
        "BF16": b"\xc0\x7f\x80\x7f\x80\xff"}  # fmt: skip


def call(name: str, request: bytes, gateway: Own | None = None) -> Vector:
    """A unary inference."""
    return Vector(name, INFER, (request,), gateway)


def datatypes() -> Iterator[Vector]:
    """Every datatype, raw and where there is a field for it typed; and no elements at all."""
    for datatype in DATATYPES:
        values, raw = ONES[datatype]
        yield call(f"{datatype} raw", infer("echo", Tensor(datatype, (2,), raw)))
        yield call(f"{datatype} raw, without elements", infer("echo", Tensor(datatype, (0,), b"")))
        if datatype in TYPED:
            typed = [one.encode() for one in values] if datatype == "BYTES" else values
            yield call(f"{datatype} typed", infer("echo", Tensor(datatype, (2,), typed=typed)))
            yield call(f"{datatype} typed, without elements", infer("echo", Tensor(datatype, (0,), typed=())))
        else:
            yield call(f"{datatype} without contents", infer("echo", Tensor(datatype, (2,))))


def values() -> Iterator[Vector]:
    """Values that are hard to write."""
    for datatype, raw in _ODD.items():
        yield call(f"NaN and Inf of {datatype}", infer("echo", Tensor(datatype, (3,), raw)))
    odd = [float("nan"), float("inf"), float("-inf")]
    yield call("NaN and Inf, typed", infer("echo", Tensor("FP64", (3,), typed=odd)))
    yield call("BYTES with NUL", infer("echo", Tensor("BYTES", (2,), strings(b"a\0b", b"\0"))))
    yield call("BYTES with NUL, typed", infer("echo", Tensor("BYTES", (2,), typed=[b"a\0b", b"\0"])))
    yield call("BYTES that are no UTF-8", infer("echo", Tensor("BYTES", (1,), strings(b"\xff\xfe"))))
    yield call("BYTES longer than they are", infer("echo", Tensor("BYTES", (1,), struct.pack("<I", 999) + b"a")))
    yield call("an integer beyond its type, typed", infer("echo", Tensor("INT8", (1,), typed=[300])))
    yield call("a megabyte", infer("echo", Tensor("UINT8", (1 << 20,), bytes(range(256)) * (1 << 12))))


def requests() -> Iterator[Vector]:
    """What a request says beside its tensors."""
    yield call("infer", infer("echo", FINE))
    yield call("infer with a version", infer("echo", FINE, model_version="1"))
    yield call("infer with an id", infer("echo", FINE, id="order 7 \u20ac"))
    yield call("an id in an error", infer("echo", Tensor("FP32", (3,), FINE.raw), id="7"))
    yield call("two tensors", infer("echo", FINE, Tensor("INT8", (2,), b"\x80\x7f")))
    yield call(
        "one of two tensors asked for", infer("echo", FINE, Tensor("INT8", (2,), b"\0\1"), outputs=[("int8", {})])
    )
    yield call("infer with parameters", infer("echo", FINE, parameters={"mine": "x", "timeout": 5_000_000}))
    yield Vector("infer with metadata", INFER, (infer("echo", FINE),), metadata=_METADATA)
    yield Vector("infer, compressed", INFER, (infer("echo", FINE),), compressed=True)
    yield call("fields in another order", _turned(infer("echo", FINE)))
    yield call("the model's name twice", field(1, b"nope") + infer("echo", FINE))
    yield call("an unknown field", infer("echo", FINE) + field(99, b"new"))


_METADATA = (
    ("x-mine", "1"),
    ("x-mine-bin", b"\x00\xff"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
)


def _turned(request: bytes) -> bytes:
    """The same message with the model's name at its end."""
    name = field(1, b"echo")
    return request.removeprefix(name) + name


def mistakes() -> Iterator[Vector]:
    """Requests that do not fit; whatever comes of one, the next vector finds the server as good as before."""
    yield call("unknown model", infer("nope", FINE), UNKNOWN_MODEL)
    yield call("unknown version", infer("echo", FINE, model_version="9"), UNKNOWN_VERSION)
    for version in ("0", "-1", "abc", "1.0", "99999999999999999999"):
        yield call(
            f"version {version!r}", infer("echo", FINE, model_version=version), Own("NOT_FOUND", Why.UNKNOWN_MODEL)
        )
    yield call("no model", b"", Own("NOT_FOUND", Why.UNKNOWN_MODEL))
    yield call("an unknown input", infer("echo", FINE._replace(name="nope")))
    yield call("an input twice", infer("echo", FINE, FINE))
    yield call("no input", infer("compass"))
    yield call("no input of many", infer("echo"))
    yield call("another datatype", infer("echo", FINE._replace(datatype="FP64", name="fp32")))
    yield call("an unknown datatype", infer("echo", FINE._replace(datatype="FP99", name="fp32")))
    yield call("shape with more than the data", infer("echo", FINE._replace(shape=(3,))))
    yield call("shape with less than the data", infer("echo", FINE._replace(shape=(1,))))
    yield call("shape with one dimension too many", infer("echo", FINE._replace(shape=(1, 2))))
    yield call("shape with a negative dimension", infer("echo", FINE._replace(shape=(-2,))))
    yield call("shape with a product that overflows", infer("echo", FINE._replace(shape=(2**33, 2**33))))
    yield call("shape with a product that overflows to 0", infer("echo", FINE._replace(shape=(2**62, 4))))
    yield call("typed, more than the shape", infer("echo", Tensor("FP32", (1,), typed=[1.0, 2.0])))
    yield call("typed, less than the shape", infer("echo", Tensor("FP32", (3,), typed=[1.0, 2.0])))
    yield call("typed, in another type's field", _in_another_field())
    yield call("typed and raw", infer("echo", Tensor("FP32", (2,), FINE.raw, [1.0, 2.0])))
    yield call("raw for one of two", infer("echo", FINE, Tensor("INT8", (2,))))
    yield call("an output twice", infer("echo", FINE, outputs=[("fp32", {}), ("fp32", {})]))
    yield call("an unknown output", infer("echo", FINE, outputs=[("nope", {})]))
    yield call("a batch too large", infer("compass", Tensor("FP32", (9, 4), _FOUR * 9)))


def _in_another_field() -> bytes:
    request = triton.ModelInferRequest(model_name="echo")
    given = request.inputs.add(name="fp32", datatype="FP32", shape=[2])
    given.contents.int_contents.extend([1, 2])
    return encoded(request)


def peculiar() -> Iterator[Vector]:
    """What Triton alone reads: classes, sequences, shared memory, reserved parameters."""
    four = Tensor("FP32", (1, 4), _FOUR)
    yield call("classes", infer("compass", four, outputs=[("fp32", {"classification": 2})]))
    yield call("more classes than there are", infer("compass", four, outputs=[("fp32", {"classification": 99})]))
    rows = Tensor("FP32", (2, 4), _FOUR * 2)
    yield call("classes of a batch", infer("compass", rows, outputs=[("fp32", {"classification": 2})]))
    yield call("a reserved parameter", infer("echo", FINE, parameters={"triton_x": 1}))
    yield call("a sequence that begins in the middle", infer("sums", step(3), parameters={"sequence_id": 52}))
    whole = {"sequence_id": 53, "sequence_start": True, "sequence_end": True}
    yield call("a sequence of one", infer("sums", step(3), parameters=whole))
    named = {"sequence_id": "fifty", "sequence_start": True, "sequence_end": True}
    yield call("a sequence with a name", infer("sums", step(3), parameters=named))
    yield call("infer of a decoupled model", infer("repeat", Tensor("INT32", (1,), b"\2\0\0\0", name="times")))
    yield call("a shared-memory region", _in_shared_memory())


def step(value: int) -> Tensor:
    """An input of `sums`."""
    return Tensor("INT32", (1, 1), struct.pack("<i", value), name="value")


def _in_shared_memory() -> bytes:
    request = triton.ModelInferRequest(model_name="echo")
    given = request.inputs.add(name="fp32", datatype="FP32", shape=[2])
    given.parameters["shared_memory_region"].string_param = "x"
    given.parameters["shared_memory_byte_size"].int64_param = 8
    return encoded(request)


def framing() -> Iterator[Vector]:
    """Messages that are none, messages that are too large, and clients that do not wait."""
    fine = infer("echo", FINE)
    yield call("a malformed message", b"\xff\xff\xff", MALFORMED)
    yield call("a message cut short", fine[:-3], MALFORMED)
    yield call("a field longer than the message", fine + varint(7 << 3 | 2) + varint(1 << 40), MALFORMED)
    yield call("a name that is no UTF-8", field(1, b"\xff\xfe"), _NO_SUCH)
    yield call("groups", fine + varint(99 << 3 | 3) + varint(99 << 3 | 4), MALFORMED)
    large = Own("RESOURCE_EXHAUSTED", Why.TOO_LARGE, str(MAX_MESSAGE))
    yield Vector("a message over the limit", INFER, (_over,), large)
    waits = Tensor("INT64", (1,), struct.pack("<q", 1_000), name="wait_ms")
    yield Vector("a deadline", INFER, (infer("counter", waits),), deadline_s=0.3, is_timed=True)


def _over() -> bytes:
    return infer("echo", Tensor("UINT8", (MAX_MESSAGE,), bytes(MAX_MESSAGE)), outputs=[("fp32", {})])
