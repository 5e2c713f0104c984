"""What all wrappers share: requests merged into one batch, one pass of the model, the outputs split again.

`layout.py` places this file beside `model.py`, and Triton's stub, a Python process of its own, imports both there. So
they may import nothing of this project. A request that fails gets its own error and spoils no other's answer.

Queueing, batch sizes and checks of names, datatypes and shapes are Triton's, from the configuration.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]
from numpy.typing import NDArray

Array = NDArray[Any]


class RowsModel(ABC):
    """A model of Triton's Python backend that takes and gives rows; one object for each instance.

    Attributes:
        inputs: the inputs' names, in the configuration's order.
        outputs: the outputs' names and numpy datatypes, in the same way; object is BYTES.
        widths: the outputs' shapes without the batch dimension, by name; -1 where a dimension varies.
        threads: how many threads a numeric library may use.
        gpu: the number of the instance's GPU; None on the CPU.
    """

    inputs: list[str]
    outputs: list[tuple[str, np.dtype[Any]]]
    widths: dict[str, list[int]]
    threads: int
    gpu: int | None

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Loads the model that lies in the folder."""

    @abstractmethod
    def run(self, inputs: list[Array]) -> Sequence[Array]:
        """The outputs for these inputs, each in the configuration's order, a row in each for a row in each."""

    def initialize(self, args: dict[str, str]) -> None:
        """Triton's call at the start."""
        config = json.loads(args["model_config"])
        rows = 0 if config["max_batch_size"] else 1
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [
            (tensor["name"], np.dtype(triton.triton_string_to_numpy(tensor["data_type"])))
            for tensor in config["output"]
        ]
        self.widths = {tensor["name"]: [int(size) for size in tensor["dims"]][rows:] for tensor in config["output"]}
        self.threads = int(config["parameters"]["threads"]["string_value"])
        self.gpu = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None
        self.load(Path(args["model_repository"]) / args["model_version"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in their order."""
        try:
            return self._answer(requests)
        except Exception as error:  # noqa: BLE001 - whatever a model may raise belongs in an answer
            return [_failed(error)] if len(requests) == 1 else self._one_by_one(requests)

    def _answer(self, requests: Sequence[Any]) -> list[Any]:
        """The responses of a batch from one pass."""
        batch = [self._read(request) for request in requests]
        counts = [len(rows[0]) for rows in batch]
        merged = batch[0] if len(batch) == 1 else [np.concatenate(column) for column in zip(*batch, strict=True)]
        outputs = self._checked(self.run(merged), sum(counts))
        ends = accumulate(counts, initial=0)
        return [self._response([output[start:end] for output in outputs]) for start, end in pairwise(ends)]

    def _one_by_one(self, requests: Sequence[Any]) -> list[Any]:
        """The same with a pass for each request, so that only those fail that fail by themselves."""
        return [response for request in requests for response in self.execute([request])]

    def _checked(self, outputs: Sequence[Array], count: int) -> list[Array]:
        """The outputs, if they are as many as the signature has, with as many rows as went in."""
        if len(outputs) != len(self.outputs):
            raise ValueError(f"the model gives {len(outputs)} outputs, its signature {len(self.outputs)}")
        if any(output.shape[:1] != (count,) for output in outputs):
            raise ValueError(f"the model does not give {count} rows for {count} rows")
        return [self._fitted(output, name, dtype) for output, (name, dtype) in zip(outputs, self.outputs, strict=True)]

    def _fitted(self, output: Array, name: str, dtype: np.dtype[Any]) -> Array:
        """The output in the configuration's datatype; a row that is a single value gets a dimension for it."""
        widths = self.widths[name]
        if output.ndim == 1 and len(widths) == 1:
            output = output[:, None]
        found = list(output.shape[1:])
        if len(found) != len(widths) or any(wide not in {-1, size} for wide, size in zip(widths, found, strict=True)):
            raise ValueError(f"the model gives rows of {name} as {found}, and its signature as {widths}")
        if dtype == np.object_:
            return _as_bytes(output)
        if not np.can_cast(output.dtype, dtype, "same_kind") and {output.dtype.kind, dtype.kind} != {"i", "u"}:
            raise ValueError(f"the model gives {name} as {output.dtype}, and its signature as {dtype}")
        return _cast(output, name, dtype)

    def _read(self, request: Any) -> list[Array]:  # noqa: ANN401 - Triton ships no types
        """A request's inputs: views of the memory that Triton shares, not copies."""
        return [triton.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs]

    def _response(self, pieces: Sequence[Array]) -> Any:  # noqa: ANN401 - as above
        named = zip(self.outputs, pieces, strict=True)
        return triton.InferenceResponse([triton.Tensor(name, piece) for (name, _), piece in named])


def texts(rows: Array) -> Array:
    """BYTES as texts, which are UTF-8 in the v2 protocol; any other array as it is."""
    if rows.dtype != np.object_:
        return rows
    decoded = (value.decode() if isinstance(value, bytes) else str(value) for value in rows.flat)
    return np.fromiter(decoded, np.object_, rows.size).reshape(rows.shape)


def _cast(output: Array, name: str, dtype: np.dtype[Any]) -> Array:
    """The output in that datatype, which may round its values, but must hold them."""
    if not output.size or np.can_cast(output.dtype, dtype):
        return np.ascontiguousarray(output, dtype)
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(output, dtype)
    if not _holds(cast, output):
        raise ValueError(f"the model gives {name} a value that {dtype} cannot hold, as which its signature has it")
    return cast


def _holds(cast: Array, output: Array) -> bool:
    if cast.dtype.kind == "f":
        return bool(np.isfinite(cast).all() or (np.isfinite(cast) == np.isfinite(output)).all())
    limits = np.iinfo(cast.dtype)
    return bool(limits.min <= int(output.min()) and int(output.max()) <= limits.max)


def _as_bytes(output: Array) -> Array:
    """Texts as BYTES."""
    encoded = (value if isinstance(value, bytes) else str(value).encode() for value in output.flat)
    return np.fromiter(encoded, np.object_, output.size).reshape(output.shape)


def _failed(error: Exception) -> Any:  # noqa: ANN401 - as above
    """An answer that says what went wrong in one line; the messages of numeric libraries run over pages."""
    line = next(iter(str(error).splitlines()), "")
    return triton.InferenceResponse(error=triton.TritonError(f"{type(error).__name__}: {line}"))
