"""Values may begin and end with spaces, which gRPC's encoding of sentences leaves as they are."""

from __future__ import annotations

import pytest

from serving.gateway.h2.fields import Kind, understood

_ROOM = 10_000


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        (b"grpc-message", b"Expected [-1], got [1,2]. ", Kind.ANSWER),
        (b"grpc-message", b" said", Kind.ANSWER),
        (b"grpc-message", b"one\nanother", Kind.MALFORMED),
        (b"grpc-message", b"one\0", Kind.MALFORMED),
        (b"x-mine", b"said ", Kind.ANSWER),
        (b"x-mine", b" said", Kind.ANSWER),
    ],
)
def test_a_sentence_may_begin_and_end_with_spaces(name: bytes, value: bytes, kind: Kind) -> None:
    """Triton's own sentences do; a line's end in one breaks the answer."""
    assert understood(((b":status", b"200"), (name, value)), _ROOM).kind is kind
