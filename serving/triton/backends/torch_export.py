"""A torch.export program, `model.pt2`, as a model of Triton's Python backend: inputs and outputs go by position.

Nothing in it is unpickled but tensors. That makes no stranger's program safe: torch evaluates the expressions in it,
such as those of sizes, as Python (`registry.kinds.RUNS_CODE`).

Placed as `model.py` beside `rows.py`, which says how batches are merged and split.
"""

import os
import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.export.passes import move_to_device_pass

from .rows import Array, RowsModel


class TritonPythonModel(RowsModel):
    """The class that Triton's stub looks for."""

    def load(self, folder: Path) -> None:
        """Loads the program onto the instance's device."""
        torch.set_num_threads(self.threads)
        torch.set_num_interop_threads(1)
        self._device = torch.device("cpu" if self.gpu is None else f"cuda:{self.gpu}")
        program = _loaded(folder / "model.pt2")
        if self._device.type != "cpu":
            program = move_to_device_pass(program, self._device)
        self._program = program.module()

    @torch.inference_mode()
    def run(self, inputs: list[Array]) -> Sequence[Array]:
        """One forward pass."""
        result = self._program(*(torch.from_numpy(rows).to(self._device, non_blocking=True) for rows in inputs))
        outputs = (result,) if isinstance(result, torch.Tensor) else tuple(result)
        return [output.to("cpu").contiguous().numpy() for output in outputs]


def _loaded(file: Path) -> torch.export.ExportedProgram:
    # What torch cannot load so it would load again as a pickle of anything, if this did not forbid it.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    try:
        return torch.export.load(file)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{file.name} holds a pickle of more than tensors, which may run code: save it anew"
        ) from error
