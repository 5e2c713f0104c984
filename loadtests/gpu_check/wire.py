"""Requests of the Open Inference Protocol over HTTP/1.1, as bytes, and what an answer's body holds.

Both forms: tensors as JSON, and tensors as bytes behind the JSON (the binary tensor extension).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from loadtests.gpu_check.client import HOST
from loadtests.gpu_check.models import INPUT, MODEL, Rows

_LENGTH = "Inference-Header-Content-Length"


class Form(StrEnum):
    """How tensors travel."""

    JSON = "JSON"
    BINARY = "binary"


class Scores(NamedTuple):
    """What an answer says.

    Attributes:
        version: who gave it, in Triton's own words.
        values: float32, (rows, classes).
    """

    version: int
    values: Rows


def infer(rows: Rows, form: Form, *, version: int | None = None, unit: str | None = None) -> bytes:
    """An inference about these rows; of this version, where one is named, for this unit, where one is named."""
    tensor: dict[str, Any] = {"name": INPUT, "datatype": "FP32", "shape": list(rows.shape)}
    headers = {} if unit is None else {"sluice-unit": unit}
    if form is Form.JSON:
        body = json.dumps({"inputs": [tensor | {"data": rows.ravel().tolist()}]}).encode()
    else:
        data = rows.tobytes()
        size = {"parameters": {"binary_data_size": len(data)}}
        head = json.dumps({"inputs": [tensor | size], "parameters": {"binary_data_output": True}}).encode()
        headers[_LENGTH] = str(len(head))
        body = head + data
    return _request("POST", _path("infer", version), headers, body)


def configuration(version: int) -> bytes:
    """A question for the configuration that Triton runs the version with."""
    return _request("GET", _path("config", version), {}, b"")


def scores(headers: Mapping[bytes, bytes], body: bytes) -> Scores:
    """What an answer says.

    Raises:
        ValueError: it is not an answer to `infer`.
    """
    try:
        length = int(headers.get(_LENGTH.lower().encode(), len(body)))
        said = json.loads(body[:length])
        [tensor] = said["outputs"]
        flat = np.asarray(tensor["data"], np.float32) if "data" in tensor else np.frombuffer(body[length:], np.float32)
        return Scores(int(said["model_version"]), flat.reshape(tensor["shape"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{body[:200]!r} is no answer to an inference: {error!r}") from error


def _path(what: str, version: int | None) -> str:
    named = "" if version is None else f"/versions/{version}"
    return f"/v2/models/{MODEL}{named}/{what}"


def _request(method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    all_headers = {"Host": HOST, "Content-Length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in all_headers.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body
