"""A TorchScript module, `model.pt`, as a model of Triton's Python backend.

Inputs go to `forward` by position. What it returns is one tensor, several in the signature's order, or a dictionary
that has each by its name in the signature. Placed as `model.py` beside `rows.py`, which says how batches are merged
and split.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .rows import Array, RowsModel


class TritonPythonModel(RowsModel):
    """The class that Triton's stub looks for."""

    def load(self, folder: Path) -> None:
        """Loads the module onto the instance's device."""
        torch.set_num_threads(self.threads)
        torch.set_num_interop_threads(1)
        self._device = torch.device("cpu" if self.gpu is None else f"cuda:{self.gpu}")
        with warnings.catch_warnings():
            # That torch prefers torch.export by now is nothing that whoever serves an older model can change.
            warnings.simplefilter("ignore", DeprecationWarning)
            load: Any = torch.jit.load
            self._module = load(str(folder / "model.pt"), map_location=self._device).eval()

    @torch.inference_mode()
    def run(self, inputs: list[Array]) -> Sequence[Array]:
        """One forward pass."""
        result = self._module(*(torch.from_numpy(rows).to(self._device, non_blocking=True) for rows in inputs))
        return [output.to("cpu").contiguous().numpy() for output in self._ordered(result)]

    def _ordered(self, result: Any) -> Sequence[torch.Tensor]:  # noqa: ANN401 - whatever the module returns
        if isinstance(result, torch.Tensor):
            return (result,)
        if isinstance(result, dict):
            if missing := [name for name, _ in self.outputs if name not in result]:
                raise ValueError(f"the module gives {', '.join(map(str, result))}, and not {', '.join(missing)}")
            return [result[name] for name, _ in self.outputs]
        return tuple(result)
