"""What a model takes and gives, as the file `signature.json` says it.

Tensors go by Triton's own datatype names, shapes without the batch dimension, -1 for a dimension that varies:

    {"inputs":  [{"name": "pixels", "datatype": "FP32", "shape": [64]}],
     "outputs": [{"name": "scores", "datatype": "FP32", "shape": [10], "labels": ["zero", "one", ...]}]}

`labels` (one for each element of an output) serve Triton's classification extension, `"optional": true` marks an input
that clients may leave out; both may be missing. How a signature is told from a model is `inspecting.py`'s.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from registry.signature import DATATYPES
from serving.triton.version import ArtifactRefused

SIGNATURE = "signature.json"

_TENSOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output.

    Args:
        name: as in requests.
        datatype: Triton's name of it, such as FP32.
        shape: without the batch dimension; -1 for a dimension that varies.
        labels: a name for each element; empty for none.
        optional: whether clients may leave it out.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    labels: tuple[str, ...] = ()
    optional: bool = False

    def __post_init__(self) -> None:
        """Refuses what a configuration cannot say.

        Raises:
            ArtifactRefused: naming the value and what is allowed.
        """
        if not isinstance(self.name, str) or not _TENSOR_NAME.fullmatch(self.name):
            raise ArtifactRefused(f"A tensor's name is {self.name!r}: it must match {_TENSOR_NAME.pattern}.")
        if self.datatype not in DATATYPES:
            raise ArtifactRefused(
                f"The datatype of {self.name} is {self.datatype!r}: it must be one of {', '.join(DATATYPES)}."
            )
        if not self.shape or any(type(size) is not int or (size < 1 and size != -1) for size in self.shape):
            raise ArtifactRefused(
                f"The shape of {self.name} is {list(self.shape)}: it must be a list of sizes without the batch "
                "dimension, each 1 or more, or -1 where it varies."
            )
        if any(not isinstance(label, str) or not label.isprintable() for label in self.labels):
            raise ArtifactRefused(f"The labels of {self.name} must be printable texts of one line each.")
        if type(self.optional) is not bool:
            raise ArtifactRefused(f"Whether {self.name} is optional is {self.optional!r}: it must be true or false.")

    def plain(self) -> dict[str, Any]:
        """Its object in `signature.json`."""
        said: dict[str, Any] = {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}
        if self.labels:
            said["labels"] = list(self.labels)
        return {**said, "optional": True} if self.optional else said


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        """Refuses a signature without inputs or outputs, with a name used twice, or with what only the others have.

        Raises:
            ArtifactRefused: with what is wrong.
        """
        for what, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            names = [tensor.name for tensor in tensors]
            if not names or len(set(names)) < len(names):
                raise ArtifactRefused(f"The signature's {what} are {names}: there must be at least one, none twice.")
        if labelled := [tensor.name for tensor in self.inputs if tensor.labels]:
            raise ArtifactRefused(f"The signature gives labels for {labelled}: only outputs have labels.")
        if optional := [tensor.name for tensor in self.outputs if tensor.optional]:
            raise ArtifactRefused(f"The signature makes the outputs {optional} optional: only inputs can be.")

    def labelled_as(self, other: Self) -> "Signature":
        """This signature with the labels that the other one gives to outputs of the same name."""
        labels = {tensor.name: tensor.labels for tensor in other.outputs}
        outputs = (replace(one, labels=one.labels or labels.get(one.name, ())) for one in self.outputs)
        return Signature(self.inputs, tuple(outputs))

    def text(self) -> str:
        """The JSON that `read_signature` reads."""
        return json.dumps({what: [tensor.plain() for tensor in getattr(self, what)] for what in ("inputs", "outputs")})


def read_signature(text: str | bytes) -> Signature:
    """The signature that a `signature.json` holds.

    Raises:
        ArtifactRefused: it is not JSON, or lacks something, or a value is not allowed.
    """
    try:
        known = json.loads(text)
        return Signature(_tensors(known["inputs"]), _tensors(known["outputs"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactRefused(
            f"{SIGNATURE} is not an object with 'inputs' and 'outputs', each a list of objects with 'name', "
            f"'datatype' and 'shape': {error!r}."
        ) from error


def _tensors(listed: Sequence[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(
            name=str(entry["name"]),
            datatype=str(entry["datatype"]),
            shape=_items(entry["shape"]),
            labels=_items(entry.get("labels", ())),
            optional=entry.get("optional", False),
        )
        for entry in listed
    )


def _items(value: object) -> tuple[Any, ...]:
    """A list's elements, whatever they are: Tensor looks at each."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} is not a list")
    return tuple(value)
