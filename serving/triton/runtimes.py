"""With what each kind of artifact runs: Triton's own backend where the server has it, else a wrapper of ours.

A wrapper is a file of `backends/` that runs in Triton's Python backend. All wrappers merge, run and split batches the
same way (`backends/rows.py`). The wheel's server has no backend but the Python one, NVIDIA's container has all of them.

A table and what follows from it; nothing is opened or written here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from registry.kinds import ArtifactKind
from serving.triton.binary import TritonBinary
from serving.triton.signature import Signature, Tensor
from serving.triton.version import ArtifactRefused

PYTHON = "python"

# BF16 is missing everywhere: numpy, in which Triton hands tensors to its Python backend, has no bfloat16.
_NUMBERS = frozenset(
    {"BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"}
)
_OF_THE_PYTORCH_BACKEND = _NUMBERS - {"UINT16", "UINT32", "UINT64"}
_PYTORCH_NAME = re.compile(r".+__(\d+)")


@dataclass(frozen=True, slots=True)
class Runtime:
    """How one kind of artifact is run.

    Attributes:
        kind: whose it is.
        wrapper: the file of `backends/` that runs it.
        datatypes: of the tensors it can take and give.
        native: Triton's own backend for it; empty for none.
        native_file: the model file that the native backend is told of.
        native_threads: what the native backend calls the number of threads.
        companions: whether files beside the model may belong to it.
        on_gpu: whether it can use one.
    """

    kind: ArtifactKind
    wrapper: str
    datatypes: frozenset[str] = _NUMBERS
    native: str = ""
    native_file: str = ""
    native_threads: str = ""
    companions: bool = False
    on_gpu: bool = True


RUNTIMES: Mapping[ArtifactKind, Runtime] = MappingProxyType(
    {
        runtime.kind: runtime
        for runtime in (
            Runtime(ArtifactKind.TORCH_EXPORT, "torch_export.py"),
            Runtime(
                ArtifactKind.TORCHSCRIPT,
                "torchscript.py",
                native="pytorch",
                native_file="model.pt",
                native_threads="INTRA_OP_THREAD_COUNT",
            ),
            Runtime(
                ArtifactKind.ONNX,
                "onnx_runtime.py",
                _NUMBERS | {"BYTES"},
                native="onnxruntime",
                native_file="model.onnx",
                native_threads="intra_op_thread_count",
                companions=True,
            ),
            Runtime(ArtifactKind.SKLEARN, "sklearn_skops.py", _NUMBERS | {"BYTES"}, on_gpu=False),
        )
    }
)
"""All kinds but the Triton directory, which says itself with what it runs."""


def backend_for(runtime: Runtime, signature: Signature, binary: TritonBinary | None) -> str:
    """The backend that runs it on this server; 'python' is the wrapper's."""
    if binary is None or not runtime.native or not binary.has_backend(runtime.native):
        return PYTHON
    if runtime.kind is ArtifactKind.TORCHSCRIPT and not _follows_the_pytorch_backend(signature):
        return PYTHON
    return runtime.native


def check(runtime: Runtime, signature: Signature, device: str) -> None:
    """Refuses what the runtime cannot do.

    Raises:
        ArtifactRefused: a tensor or the device.
    """
    for tensor in (*signature.inputs, *signature.outputs):
        if tensor.datatype not in runtime.datatypes:
            allowed = ", ".join(sorted(runtime.datatypes))
            raise ArtifactRefused(
                f"The datatype of {tensor.name} is {tensor.datatype!r}: an artifact of the kind {runtime.kind} takes "
                f"and gives {allowed}."
            )
    if optional := [tensor.name for tensor in signature.inputs if tensor.optional]:
        raise ArtifactRefused(
            f"The inputs {optional} are optional, and an artifact of the kind {runtime.kind} needs each.",
            "Make them required, or bring a Triton model directory.",
        )
    if device == "gpu" and not runtime.on_gpu:
        raise ArtifactRefused(f"An artifact of the kind {runtime.kind} runs on the CPU only.", "Use device cpu.")


def _follows_the_pytorch_backend(signature: Signature) -> bool:
    """Whether tensors are called by what that backend finds them: anything, two underscores, its position."""
    return all(map(_in_order, (signature.inputs, signature.outputs)))


def _in_order(tensors: tuple[Tensor, ...]) -> bool:
    found = [_PYTORCH_NAME.fullmatch(tensor.name) for tensor in tensors]
    places = [int(match[1]) for match in found if match]
    known = all(tensor.datatype in _OF_THE_PYTORCH_BACKEND for tensor in tensors)
    return known and places == list(range(len(tensors)))
