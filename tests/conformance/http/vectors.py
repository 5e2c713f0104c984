"""The HTTP vectors: what is sent, and where the gateway may answer otherwise than Triton alone.

A vector without a word about the gateway says that both answer alike: status, phrase, end-to-end headers, body, and
what is left of the connection. The first column, Triton's, is in `recorded/http.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from tests.conformance.http import codings, extension, framing, inference, questions, streams
from tests.conformance.http.exchange import Vector
from tests.conformance.targets import Profile

Part = Callable[[], Iterable[Vector]]

PARTS: Mapping[Profile, tuple[Part, ...]] = MappingProxyType(
    {
        Profile.CORE: (
            questions.questions, questions.unknown, inference.documents, inference.datatypes, inference.values,
            inference.shapes, inference.outputs,
        ),
        Profile.BINARY: (
            extension.extension, inference.binary_datatypes, inference.binary_values, inference.binary_shapes,
        ),
        Profile.TRITON: (
            questions.extensions, questions.unknown_beyond, questions.methods, questions.not_offered,
            inference.peculiar, inference.classes, inference.sequences, codings.codings, codings.nesting,
            framing.sizes, framing.chunks, framing.connections, framing.heads,
        ),
        Profile.GENERATE: (streams.generate,),
    }
)  # fmt: skip


def vectors() -> tuple[Vector, ...]:
    """All of them, each in its profile."""
    return tuple(_in_profiles())


def _in_profiles() -> Iterator[Vector]:
    for profile, parts in PARTS.items():
        for part in parts:
            yield from (replace(vector, profile=profile) for vector in part())
