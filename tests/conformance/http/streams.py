"""Triton's generate extension."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.http.exchange import Vector
from tests.conformance.http.requests import document, in_chunks, post
from tests.conformance.http.rows import DEEPEST, TOO_DEEP, one


def generate() -> Iterator[Vector]:
    """Triton's generate extension, with a model that answers in words."""
    counting = "/v2/models/repeat/generate_stream"
    say, stream = "/v2/models/words/generate", "/v2/models/words/generate_stream"
    yield one("generate", post(b'{"text": "one"}', target=say))
    yield one("generate with a version", post(b'{"text": "one"}', target="/v2/models/words/versions/1/generate"))
    yield one("generate, more than one answer", post(b'{"text": "one two"}', target=say))
    yield one("generate, no answer", post(b'{"text": ""}', target=say))
    yield one("generate, malformed", post(b"{", target=say))
    yield one("generate, nothing known", post(b'{"nope": 1}', target=say))
    yield one("generate, an empty body", post(b"", target=say))
    yield one("stream", post(b'{"text": "one two three"}', target=stream))
    yield one("stream in chunks", in_chunks(b'{"text": ', b'"one"}', target=stream))
    yield one("stream of nothing", post(b'{"text": ""}', target=stream))
    yield one("stream, malformed", post(b"{", target=stream))
    yield one("stream of numbers", post(b'{"times": 3}', target=counting))
    yield one("stream with an error midway", post(b'{"times": 3, "fail_at": 1}', target=counting))
    yield one("stream with an error at once", post(b'{"times": 3, "fail_at": 0}', target=counting))
    yield one("stream with an id", post(b'{"id": "7", "times": 1}', target=counting))
    yield one("generate with an error midway", post(b'{"times": 3, "fail_at": 1}', target="/v2/models/repeat/generate"))
    yield one("stream with HTTP/1.0", post(b'{"text": "one two"}', target=stream, version="1.0"))
    yield one(
        "infer of a stream",
        post(
            document({"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}),
            target="/v2/models/words/infer",
        ),
    )
    yield one("generate, too deep", post(b'{"text": ' + b"[" * DEEPEST + b"]" * DEEPEST + b"}", target=say), TOO_DEEP)
