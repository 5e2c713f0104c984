"""What an ONNX model takes and gives, as onnxruntime reads it, on standard output as JSON.

    python -P onnx_header.py MODEL.onnx

    {"inputs": [{"name": "x", "type": "tensor(float)", "shape": ["batch", 4]}], "outputs": [...]}

or {"error": "..."}. A process of its own, because a broken model can end its reader's; `inspecting.py` starts it. It
imports nothing of this project.
"""

import json
import sys
from typing import Any


def header(path: str) -> dict[str, Any]:
    """The model's inputs and outputs; a dimension that varies is a name or None."""
    import onnxruntime  # noqa: PLC0415 - after the caller has decided to pay for it

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return {
        what: [{"name": one.name, "type": one.type, "shape": one.shape} for one in tensors]
        for what, tensors in (("inputs", session.get_inputs()), ("outputs", session.get_outputs()))
    }


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    try:
        said = header(arguments[0])
    except Exception as error:  # noqa: BLE001 - whatever the reader says about the file is the answer
        said = {"error": next(iter(str(error).splitlines()), type(error).__name__)[:500]}
    json.dump(said, sys.stdout)
    return 1 if "error" in said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
