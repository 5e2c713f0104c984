"""One captured request as it is sampled: its tensors and those of its answers, without what is redacted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from drift.samples import LONGEST_NAME, MOST_ROWS, Answer, Request, Role, Tensor, rows_in, tensor_of
from drift.sampling import key_of
from serving.captured import Answered, Captured
from serving.keeping.decoding import Request as Asked
from serving.keeping.decoding import Tensors, Unreadable, answer_in, request_in
from serving.payloads.rules import redacted

LONGEST: Final = 4 * 1024 * 1024
"""Bytes of one request's tensors."""


class Drawn(NamedTuple):
    """One answer to a request that was drawn."""

    answer: Answered
    role: Role


class Unsampled(ValueError):  # noqa: N818 - named after what happened to the request
    """It is not sampled.

    Args:
        why: the reason by which it is counted.
    """

    def __init__(self, why: str) -> None:
        super().__init__(f"a request is not sampled: {why}")
        self.why = why


@dataclass(frozen=True, slots=True)
class Sampled:
    """What is written of a request.

    Attributes:
        request: with those answers.
        thinned: rows of it that were left out.
        hidden: names of its tensors that are redacted.
    """

    request: Request
    thinned: int
    hidden: frozenset[str]


def answers_of(captured: Captured) -> Iterator[Drawn]:
    """The client's, and those of other versions: a second one by the same version is no other row."""
    first = captured.first
    yield Drawn(first, Role.STABLE if first.version == captured.stable else Role.ARM)
    for copy in captured.copies:
        if copy.version != first.version:
            yield Drawn(copy, Role.SHADOW)


def sampled(
    captured: Captured, answers: Sequence[Drawn], patterns: Iterable[str] = (), exact: Iterable[str] = ()
) -> Sampled:
    """The request with these answers.

    Args:
        captured: what a worker handed over.
        answers: of `answers_of`, those that went well.
        patterns: names whose values are not sampled, as in `serving.payloads.rules.redacted`; so is `exact`.
        exact: see patterns.

    Raises:
        Unsampled: it is too long, or cannot be read.
    """
    asked = _asked(captured)
    outputs = [_outputs(captured.protocol, one.answer, asked) for one in answers]
    every = [asked.inputs, *(one for one in outputs if one is not None)]
    names = {name for one in every for name in one}
    hidden = redacted(captured.model, {*names, *captured.segment}, patterns, exact)
    rows = rows_in(tensor.shape for one in every for tensor in one.values())
    at = _places(captured.nonce, rows or 0)
    try:
        request = Request(
            captured.at_s,
            key_of(captured.nonce),
            {name: value for name, value in captured.segment.items() if name not in hidden},
            _tensors(asked.inputs, hidden, at),
            tuple(
                Answer(one.answer.version, one.role, None if told is None else _tensors(told, hidden, at))
                for one, told in zip(answers, outputs, strict=True)
            ),
            named=bool(asked.asked),
            id=captured.request_id,
        )
    except ValueError as error:
        raise Unsampled("unreadable") from error
    if request.size > LONGEST:
        raise Unsampled("long")
    thinned = 0 if at is None else (rows or 0) - MOST_ROWS
    return Sampled(request, thinned * len(answers), frozenset(one for one in hidden & names if _is_name(one)))


def _is_name(said: str) -> bool:
    return 0 < len(said) <= LONGEST_NAME


def _asked(captured: Captured) -> Asked:
    if captured.request is None:
        raise Unsampled("long")
    try:
        return request_in(captured.protocol, captured.headers, captured.request)
    except Unreadable as error:
        raise Unsampled("unreadable") from error


def _outputs(protocol: str, answer: Answered, asked: Asked) -> Tensors | None:
    """What it answered, without classes that stand in the place of values; None where that is not known."""
    if answer.body is None:
        return None
    classes = {one.name for one in asked.asked if one.classes}
    try:
        found = answer_in(protocol, answer.headers, answer.body)
    except Unreadable:
        return None
    return {name: tensor for name, tensor in found.items() if name not in classes}


def _places(nonce: int, rows: int) -> slice | None:
    """Every so many-th row of a long request, from a place of its own; None where all are taken."""
    if rows <= MOST_ROWS:
        return None
    step = rows // MOST_ROWS
    start = nonce % (rows - step * (MOST_ROWS - 1))
    return slice(start, start + step * (MOST_ROWS - 1) + 1, step)


def _tensors(found: Tensors, hidden: Collection[str], at: slice | None) -> tuple[Tensor, ...]:
    return tuple(
        tensor_of(name, tensor.datatype, tensor.values if at is None else tensor.values[at])
        for name, tensor in found.items()
        if name not in hidden
    )
