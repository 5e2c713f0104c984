"""Requests as bytes: heads, JSON bodies, and the binary tensor extension."""

from __future__ import annotations

import json
import struct
from typing import Any

INFER = "/v2/models/echo/infer"
JSON_LENGTH = "Inference-Header-Content-Length"

ONES: dict[str, tuple[list[Any], bytes]] = {
    "BOOL": ([True, False], b"\x01\x00"),
    "INT8": ([-128, 127], b"\x80\x7f"),
    "INT16": ([-32768, 32767], struct.pack("<2h", -32768, 32767)),
    "INT32": ([-(2**31), 2**31 - 1], struct.pack("<2i", -(2**31), 2**31 - 1)),
    "INT64": ([-(2**63), 2**63 - 1], struct.pack("<2q", -(2**63), 2**63 - 1)),
    "UINT8": ([0, 255], b"\x00\xff"),
    "UINT16": ([0, 65535], b"\x00\x00\xff\xff"),
    "UINT32": ([0, 2**32 - 1], struct.pack("<2I", 0, 2**32 - 1)),
    "UINT64": ([0, 2**64 - 1], struct.pack("<2Q", 0, 2**64 - 1)),
    "FP16": ([1.0, 2.0], struct.pack("<2e", 1.0, 2.0)),
    "BF16": ([1.0, 2.0], b"\x80\x3f\x00\x40"),
    "FP32": ([1.5, -3.25e38], struct.pack("<2f", 1.5, -3.25e38)),
    "FP64": ([0.1, -1.7e308], struct.pack("<2d", 0.1, -1.7e308)),
    "BYTES": (["grün", ""], b"\x05\x00\x00\x00gr\xc3\xbcn\x00\x00\x00\x00"),
}
"""For each datatype two values as JSON has them, and as the binary tensor extension does."""


def request(method: str, target: str, body: bytes | None = None, *lines: str, version: str = "1.1") -> bytes:
    """A request with a Host, and with a length where there is a body."""
    length = () if body is None else (f"Content-Length: {len(body)}",)
    head = "\r\n".join((f"{method} {target} HTTP/{version}", "Host: test", *lines, *length))
    return head.encode("latin-1") + b"\r\n\r\n" + (body or b"")


def post(body: bytes, *lines: str, target: str = INFER, version: str = "1.1") -> bytes:
    """An inference request with a length."""
    return request("POST", target, body, *lines, version=version)


def in_chunks(*chunks: bytes, target: str = INFER, lines: tuple[str, ...] = (), end: bytes = b"0\r\n\r\n") -> bytes:
    """An inference request whose body comes in these chunks."""
    head = request("POST", target, None, "Transfer-Encoding: chunked", *lines)
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def tensor(datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    """An input of `echo` in JSON."""
    return {"name": datatype.lower(), "datatype": datatype, "shape": shape or [len(data)], "data": data}


def document(*inputs: dict[str, Any], **more: Any) -> bytes:  # noqa: ANN401 (what JSON holds)
    """The JSON of an inference request."""
    return json.dumps({**more, "inputs": inputs}).encode()


def binary(
    *inputs: tuple[str, list[int], bytes],
    lines: tuple[str, ...] = (),
    model: str = "echo",
    **more: Any,  # noqa: ANN401 (as above)
) -> bytes:
    """A request in the binary tensor extension: of each input its datatype, its shape and its bytes."""
    described = [
        {"name": kind.lower(), "datatype": kind, "shape": shape, "parameters": {"binary_data_size": len(data)}}
        for kind, shape, data in inputs
    ]
    head = document(*described, **more)
    body = head + b"".join(data for _, _, data in inputs)
    return post(body, f"{JSON_LENGTH}: {len(head)}", *lines, target=f"/v2/models/{model}/infer")


def strings(*values: bytes) -> bytes:
    """BYTES as the binary tensor extension has them."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def nested(depth: int) -> bytes:
    """A good inference request that is nested so deep."""
    around = depth - 1
    return FINE[:-1] + b', "more": ' + b"[" * around + b"]" * around + b"}"


FINE = document(tensor("FP32", [1.0, 2.0]))
"""The good request that most vectors bend."""
