"""The gRPC vectors: what is sent, and where the gateway may answer otherwise than Triton alone.

A vector without a word about the gateway says that both answer alike: status, details, metadata, and every message to
the byte. The first column, Triton's, is in `recorded/grpc.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from tests.conformance.grpc import inference, questions, streams
from tests.conformance.grpc.calls import Vector
from tests.conformance.targets import Profile

Part = Callable[[], Iterable[Vector]]

PARTS: Mapping[Profile, tuple[Part, ...]] = MappingProxyType(
    {
        Profile.CORE: (
            questions.questions, inference.requests, inference.datatypes, inference.values, inference.mistakes,
        ),
        Profile.TRITON: (
            questions.extensions, questions.not_offered, inference.peculiar, inference.framing, streams.single,
            streams.sequences,
        ),
        Profile.GENERATE: (streams.decoupled,),
    }
)  # fmt: skip


def vectors() -> tuple[Vector, ...]:
    """All of them, each in its profile."""
    return tuple(_in_profiles())


def _in_profiles() -> Iterator[Vector]:
    for profile, parts in PARTS.items():
        for part in parts:
            yield from (replace(vector, profile=profile) for vector in part())
