"""A torch.export program, `model.pt2`, as a model of Triton's Python backend: inputs and outputs go by position.

Placed as `model.py` beside `rows.py`, which says how batches are merged and split.
"""

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
        program = torch.export.load(folder / "model.pt2")
        if self._device.type != "cpu":
            program = move_to_device_pass(program, self._device)
        self._program = program.module()

    @torch.inference_mode()
    def run(self, inputs: list[Array]) -> Sequence[Array]:
        """One forward pass."""
        result = self._program(*(torch.from_numpy(rows).to(self._device, non_blocking=True) for rows in inputs))
        outputs = (result,) if isinstance(result, torch.Tensor) else tuple(result)
        return [output.to("cpu").contiguous().numpy() for output in outputs]
