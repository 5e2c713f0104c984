"""A torch.export program as a model of Triton's Python backend.

`layout.py` places this file as `model.py` beside `model.pt2`; Triton's stub, a Python process of its own, imports
it there. So it may import nothing of this project. It merges the requests that Triton's batcher hands over into one
forward pass and splits the result. A request that fails gets its own error and spoils no other's answer.

Queueing, batch sizes and checks of names, datatypes and shapes are Triton's, from the configuration.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as triton  # type: ignore[import-not-found]
from torch.export.passes import move_to_device_pass

Rows = tuple[torch.Tensor, ...]


class TritonPythonModel:
    """The class that Triton's stub looks for; one object for each instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the program onto the instance's device."""
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [(tensor["name"], _dtype(tensor["data_type"])) for tensor in config["output"]]
        self._device = _device(args["model_instance_kind"], args["model_instance_device_id"])
        torch.set_num_threads(int(config["parameters"]["threads"]["string_value"]))
        torch.set_num_interop_threads(1)
        folder = Path(args["model_repository"]) / args["model_version"]
        self._program = _load(folder / "model.pt2", self._device)

    @torch.inference_mode()
    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in their order."""
        batch = [self._read(request) for request in requests]
        try:
            return self._answer(batch)
        except Exception as error:  # noqa: BLE001 - whatever a model may raise belongs in an answer
            return [_failed(error)] if len(batch) == 1 else self._one_by_one(batch)

    def _answer(self, batch: Sequence[Rows]) -> list[Any]:
        """The responses of a batch from one forward pass."""
        counts = [rows[0].shape[0] for rows in batch]
        merged = batch[0] if len(batch) == 1 else tuple(torch.cat(column) for column in zip(*batch, strict=True))
        outputs = self._forward(merged, sum(counts))
        split = [torch.split_with_sizes(output, counts) for output in outputs]
        return [self._response(pieces) for pieces in zip(*split, strict=True)]

    def _one_by_one(self, batch: Sequence[Rows]) -> list[Any]:
        """The same with a pass for each request, so that only those fail that fail by themselves."""
        responses = []
        for rows in batch:
            try:
                responses += self._answer([rows])
            except Exception as error:  # noqa: BLE001 - as above
                responses.append(_failed(error))
        return responses

    def _forward(self, merged: Rows, count: int) -> Rows:
        """The outputs on the CPU, in the configuration's order and datatypes, `count` rows each."""
        result = self._program(*(rows.to(self._device, non_blocking=True) for rows in merged))
        outputs = (result,) if isinstance(result, torch.Tensor) else tuple(result)
        if len(outputs) != len(self._outputs):
            raise ValueError(f"the program gives {len(outputs)} outputs, its signature {len(self._outputs)}")
        if any(output.shape[:1] != (count,) for output in outputs):
            raise ValueError(f"the program does not give {count} rows for {count} rows")
        return tuple(
            output.to("cpu", dtype).contiguous() for output, (_, dtype) in zip(outputs, self._outputs, strict=True)
        )

    def _read(self, request: Any) -> Rows:  # noqa: ANN401 - Triton ships no types
        """A request's inputs in the configuration's order: views of the memory that Triton shares, not copies."""
        tensors = (triton.get_input_tensor_by_name(request, name) for name in self._inputs)
        return tuple(torch.from_numpy(tensor.as_numpy()) for tensor in tensors)

    def _response(self, pieces: Sequence[torch.Tensor]) -> Any:  # noqa: ANN401 - Triton ships no types
        named = zip(self._outputs, pieces, strict=True)
        return triton.InferenceResponse([triton.Tensor(name, piece.numpy()) for (name, _), piece in named])


def _failed(error: Exception) -> Any:  # noqa: ANN401 - Triton ships no types
    """An answer that says what went wrong in one line; torch's messages run over pages."""
    line = next(iter(str(error).splitlines()), "")
    return triton.InferenceResponse(error=triton.TritonError(f"{type(error).__name__}: {line}"))


def _device(kind: str, number: str) -> torch.device:
    return torch.device(f"cuda:{number}" if kind == "GPU" else "cpu")


def _dtype(data_type: str) -> torch.dtype:
    """Torch's counterpart of a configuration's datatype, by way of numpy's."""
    return torch.from_numpy(np.empty(0, triton.triton_string_to_numpy(data_type))).dtype


def _load(path: Path, device: torch.device) -> torch.nn.Module:
    program = torch.export.load(path)
    if device.type != "cpu":
        program = move_to_device_pass(program, device)
    return program.module()
