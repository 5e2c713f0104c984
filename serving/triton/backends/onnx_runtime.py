"""An ONNX model, `model.onnx`, as a model of Triton's Python backend: onnxruntime runs it, tensors go by name.

On a GPU where the installed onnxruntime can use one, else on the CPU. Placed as `model.py` beside `rows.py`, which
says how batches are merged and split.
"""

from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import triton_python_backend_utils as triton  # type: ignore[import-not-found]

from .rows import Array, RowsModel, texts

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TEXT = "tensor(string)"


class TritonPythonModel(RowsModel):
    """The class that Triton's stub looks for."""

    def load(self, folder: Path) -> None:
        """Opens a session on the instance's device."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=_providers(self.gpu)
        )
        self._taken = {tensor.name: tensor for tensor in self._session.get_inputs()}
        self._refuse_strangers("input", self.inputs, list(self._taken))
        given = [tensor.name for tensor in self._session.get_outputs()]
        self._refuse_strangers("output", [name for name, _ in self.outputs], given)

    def run(self, inputs: list[Array]) -> Sequence[Array]:
        """One run of the session, of the outputs that the signature has."""
        feed = {name: self._as_taken(name, rows) for name, rows in zip(self.inputs, inputs, strict=True)}
        found: Sequence[Array] = self._session.run([name for name, _ in self.outputs], feed)
        return found

    def _as_taken(self, name: str, rows: Array) -> Array:
        taken = self._taken[name]
        if len(taken.shape) == 1 and rows.ndim == 2 and rows.shape[1] == 1:  # noqa: PLR2004 - rows of one value
            rows = rows[:, 0]
        return texts(rows) if taken.type == _TEXT else rows

    @staticmethod
    def _refuse_strangers(what: str, named: list[str], known: list[str]) -> None:
        if strangers := [name for name in named if name not in known]:
            raise ValueError(
                f"the signature's {what} {strangers[0]} is none of the model's, which are {', '.join(known)}"
            )


def _providers(gpu: int | None) -> list[str | tuple[str, dict[str, str]]]:
    if gpu is None:
        return [_CPU]
    if _CUDA not in onnxruntime.get_available_providers():
        triton.Logger.log_warn("The installed onnxruntime cannot use a GPU, so the model runs on the CPU.")
        return [_CPU]
    return [(_CUDA, {"device_id": str(gpu)}), _CPU]
