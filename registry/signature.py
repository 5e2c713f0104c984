"""What a version takes and gives, and whether one version can stand in for another without its clients noticing.

A candidate serves stable's clients if whatever they send is accepted and whatever they read is there. So inputs may
only become wider and outputs only narrower: a dimension that was fixed may begin to vary in an input, and never the
other way round; in an output it is the reverse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from registry.errors import Unacceptable

DATATYPES = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BF16", "BYTES"),
)
"""Triton's names."""

VARIES = -1
MOST_TENSORS = 1_000
_MOST_DIMENSIONS = 32
_LARGEST_SIZE = 2**63 - 1
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: as in requests.
        datatype: one of `DATATYPES`.
        shape: without the batch dimension where the model batches; -1 for a dimension that varies.
        optional: whether clients may leave it out; of inputs only.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise Unacceptable(f"A tensor's name is {self.name!r}: it must match {_NAME.pattern}.")
        if self.datatype not in DATATYPES:
            raise Unacceptable(
                f"The datatype of {self.name} is {self.datatype!r}: it must be one of {', '.join(DATATYPES)}."
            )
        if not isinstance(self.optional, bool):
            raise Unacceptable(f"Whether {self.name} is optional is {self.optional!r}: it must be true or false.")
        object.__setattr__(self, "shape", tuple(self.shape))
        if not 1 <= len(self.shape) <= _MOST_DIMENSIONS or not all(map(_is_size, self.shape)):
            raise Unacceptable(
                f"The shape of {self.name} is {list(self.shape)}: it must be 1 to {_MOST_DIMENSIONS} sizes, each 1 or "
                "more, or -1 where it varies."
            )

    def __str__(self) -> str:
        """'pixels FP32 [64]'."""
        return f"{self.name} {self.datatype} {list(self.shape)}{' optional' if self.optional else ''}"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a version takes and gives, each by name and in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __post_init__(self) -> None:
        for what in ("inputs", "outputs"):
            object.__setattr__(self, what, tuple(getattr(self, what)))
            _check_names(what, getattr(self, what))
        if optional := [tensor.name for tensor in self.outputs if tensor.optional]:
            raise Unacceptable(f"The outputs {optional} are optional: only inputs can be.")

    def serves(self, stable: Signature) -> bool:
        """Whether stable's clients could be answered by a version with this signature."""
        return not self.objections(stable)

    def objections(self, stable: Signature) -> tuple[str, ...]:
        """Why not, a sentence each; none where it can."""
        return (*_not_accepted(_by_name(self.inputs), stable), *_not_given(_by_name(self.outputs), stable))

    def refusals(self, tensors: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        """Why a request with these tensors (name, datatype, shape with the batch or without) would not be accepted."""
        given = {str(tensor["name"]): tensor for tensor in tensors}
        known = _by_name(self.inputs)
        return (
            *(f"It lacks the input {name}." for name, one in known.items() if name not in given and not one.optional),
            *(f"It has {name!r}, which is no input." for name in given if name not in known),
            *(
                f"Its {name} is {one['datatype']} {list(one['shape'])}, and the input is {known[name]}."
                for name, one in given.items()
                if name in known and not _fits(known[name], one)
            ),
        )


def _not_accepted(ours: Mapping[str, TensorSpec], stable: Signature) -> Iterable[str]:
    """What stable's clients may send, or leave out, that would be refused."""
    theirs = _by_name(stable.inputs)
    for name, sent in theirs.items():
        taken = ours.get(name)
        if taken is None:
            yield f"Clients send the input {sent}, which is not taken."
        elif taken.datatype != sent.datatype or not _covers(taken.shape, sent.shape):
            yield f"Clients send the input {sent}, and {taken} is taken."
        elif sent.optional and not taken.optional:
            yield f"Clients may leave out the input {name}, which is required."
    for name, taken in ours.items():
        if name not in theirs and not taken.optional:
            yield f"The input {taken} is required, and clients do not send it."


def _not_given(ours: Mapping[str, TensorSpec], stable: Signature) -> Iterable[str]:
    """What stable's clients read that would be missing, or would be something else."""
    for read in stable.outputs:
        given = ours.get(read.name)
        if given is None:
            yield f"Clients read the output {read}, which is not given."
        elif given.datatype != read.datatype or not _covers(read.shape, given.shape):
            yield f"Clients read the output {read}, and {given} is given."


def _covers(wide: tuple[int, ...], narrow: tuple[int, ...]) -> bool:
    """Whether every shape that `narrow` stands for is one that `wide` stands for."""
    return len(wide) == len(narrow) and all(w in (VARIES, n) for w, n in zip(wide, narrow, strict=True))


def _fits(spec: TensorSpec, given: Mapping[str, Any]) -> bool:
    # A shape in a request has the batch in front where the model batches, and whether it does is the artifact's secret.
    shape = tuple(given["shape"])
    return given["datatype"] == spec.datatype and (_covers(spec.shape, shape) or _covers(spec.shape, shape[1:]))


def _by_name(tensors: Iterable[TensorSpec]) -> Mapping[str, TensorSpec]:
    return {tensor.name: tensor for tensor in tensors}


def _is_size(size: object) -> bool:
    return type(size) is int and (size == VARIES or 1 <= size <= _LARGEST_SIZE)


def _check_names(what: str, tensors: tuple[TensorSpec, ...]) -> None:
    names = [tensor.name for tensor in tensors]
    if not 1 <= len(names) <= MOST_TENSORS:
        raise Unacceptable(f"The signature has {len(names)} {what}: it must have 1 to {MOST_TENSORS:,}.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Unacceptable(f"The signature's {what} name {', '.join(twice)} twice: names must differ.")
