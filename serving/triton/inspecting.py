"""What an artifact itself says that it takes and gives: its signature.json, an ONNX model's header, a config.pbtxt.

An ONNX model is read by onnxruntime, in a process of its own (`onnx_header.py`): a file that crashes its reader, or
keeps it busy for ever, is then no more than one that cannot be read.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from registry.errors import Unacceptable
from registry.kinds import ArtifactKind, model_file
from serving.triton import configuration
from serving.triton.configuration import CONFIGURATION
from serving.triton.signature import SIGNATURE, Signature, Tensor, read_signature
from serving.triton.version import ArtifactRefused

_READER = Path(__file__).with_name("onnx_header.py")
_READ_WITHIN_S = 120.0
_ONNX_TYPES: Mapping[str, str] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


def signature_in(folder: Path, kind: str) -> str | None:
    """The signature of an artifact, as JSON in the form of `signature.json`; None where it cannot be told.

    Blocks, for seconds where an ONNX model is read.

    Args:
        folder: of the artifact.
        kind: one of `registry.kinds.ArtifactKind`.

    Raises:
        ArtifactRefused: what would say it cannot be read, or says what cannot be served.
    """
    file = folder / SIGNATURE
    if file.is_file():
        return read_signature(file.read_bytes()).text()
    if kind == ArtifactKind.ONNX:
        return _told(_onnx_signature(folder))
    if kind == ArtifactKind.TRITON and (folder / CONFIGURATION).is_file():
        return _told(_configured_signature(folder))
    return None


def onnx_ranks(model: Path) -> Mapping[str, int]:
    """How many dimensions each input and output of an ONNX model has, the batch dimension included.

    Raises:
        ArtifactRefused: it cannot be read.
    """
    header = _onnx_header(model)
    return {tensor["name"]: len(tensor["shape"]) for tensor in (*header["inputs"], *header["outputs"])}


def _told(signature: Signature | None) -> str | None:
    return None if signature is None else signature.text()


def _onnx_signature(folder: Path) -> Signature | None:
    try:
        model = folder / model_file(entry.name for entry in folder.iterdir() if entry.is_file())
    except Unacceptable as error:
        raise ArtifactRefused(error.sentence, error.hint) from error
    header = _onnx_header(model)
    tensors = (*header["inputs"], *header["outputs"])
    if not all(_has_rows(tensor["shape"]) for tensor in tensors):
        return None
    return Signature(*(tuple(_onnx_tensor(one, model.name) for one in header[what]) for what in ("inputs", "outputs")))


def _has_rows(shape: Sequence[object]) -> bool:
    """Whether the first dimension can be a batch of any size, or of one."""
    return bool(shape) and (not isinstance(shape[0], int) or shape[0] == 1)


def _onnx_tensor(tensor: Mapping[str, Any], model: str) -> Tensor:
    datatype = _ONNX_TYPES.get(tensor["type"])
    if datatype is None:
        raise ArtifactRefused(
            f"{tensor['name']} of {model} is a {tensor['type']}, which is no tensor that can be served.",
            f"Export the model without it (a scikit-learn model with zipmap=False), or leave it out in a {SIGNATURE}.",
        )
    sizes = [size if isinstance(size, int) and size > 0 else -1 for size in tensor["shape"][1:]]
    # A row that is a single value is one of one element to Triton.
    return Tensor(tensor["name"], datatype, tuple(sizes or [1]))


def _onnx_header(model: Path) -> dict[str, Any]:
    # As a file, without the file's folder among those that are imported from: it needs nothing of ours.
    command = [sys.executable, "-P", str(_READER), str(model)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_READ_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ArtifactRefused(f"{model.name} could not be read within {_READ_WITHIN_S:g} s.") from error
    try:
        header = json.loads(done.stdout)
    except ValueError:
        header = {"error": f"its reader ended with {done.returncode}"}
    if done.returncode or "error" in header:
        raise ArtifactRefused(f"{model.name} is not an ONNX model that onnxruntime can read: {header.get('error')}.")
    return dict(header)


def _configured_signature(folder: Path) -> Signature | None:
    try:
        text = (folder / CONFIGURATION).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactRefused(f"The {CONFIGURATION} in {folder} cannot be read: {error}.") from error
    config = configuration.parsed(text, folder.name)
    if not config.input or not config.output:
        # Triton completes it from the model itself, which nobody has loaded yet.
        return None
    return Signature(tuple(map(_configured, config.input)), tuple(map(_configured, config.output)))


def _configured(tensor: Any) -> Tensor:  # noqa: ANN401 - protobuf has no types
    optional = bool(getattr(tensor, "optional", False))
    return Tensor(tensor.name, configuration.datatype_name(tensor.data_type), tuple(tensor.dims), optional=optional)
