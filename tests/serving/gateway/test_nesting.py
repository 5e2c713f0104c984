"""Depth is measured as a parser would count it, wherever the body is cut, compressed or not."""

from __future__ import annotations

import gzip
import itertools
import time
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.errors import Refusal
from serving.gateway.nesting import DEEPEST, Gauge, gauge_for, surely_shallow
from tests.serving.gateway.rig import Rig
from tests.serving.gateway.wire import post

MOST = 1_000_000
JSONISH = st.text(alphabet='[]{}"\\ab,:\n', max_size=60).map(str.encode)


def naive_depth(body: bytes) -> int:
    """The deepest level, character by character; a backslash escapes what follows it, but never a bracket outside."""
    deepest = depth = 0
    in_string = escaped = False
    for byte in body:
        character = chr(byte)
        was_escaped, escaped = escaped, False
        if was_escaped and character in '\\"':
            continue
        if character == "\\":
            escaped = True
        elif character == '"':
            in_string = not in_string
        elif not in_string:
            depth += (character in "[{") - (character in "]}")
            deepest = max(deepest, depth)
    return deepest


def refused(gauge: Gauge, pieces: list[bytes]) -> Refusal | None:
    """Why the pieces are refused."""
    for piece in pieces:
        bad = gauge.fault(piece)
        if bad is not None:
            return bad.kind
    return None


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """The body in pieces."""
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[left:right] for left, right in itertools.pairwise(edges)]


@pytest.mark.parametrize("bracket", [b"[", b"{", b"[{"])
@pytest.mark.parametrize(("levels", "verdict"), [(DEEPEST, None), (DEEPEST + 1, Refusal.NESTED_TOO_DEEP)])
def test_the_limit(bracket: bytes, levels: int, verdict: Refusal | None) -> None:
    """512 levels pass, 513 do not."""
    body = (bracket * levels)[:levels]
    assert refused(gauge_for(b"", None, MOST), [body]) is verdict
    assert refused(gauge_for(b"", None, MOST), [bytes([byte]) for byte in body]) is verdict


def test_few_brackets_need_no_walk() -> None:
    """A body with at most 512 opening brackets is shallow whatever they stand in, counted over all of its pieces."""
    assert surely_shallow([b"[" * 256, b"{" * 256])
    assert not surely_shallow([b"[" * 256, b"{" * 257])


@given(JSONISH, st.integers(500, 520), JSONISH, st.lists(st.integers(0, 10_000), max_size=6))
@example(b'"\\', 513, b'"', [1, 2])
@example(b'"\\\\', 513, b'"', [2])
@example(b"[[\\", 510, b"[", [])
def test_as_a_naive_reader_counts(start: bytes, levels: int, end: bytes, places: list[int]) -> None:
    """For any text and any cuts, in strings, escapes and anywhere else, the verdict is a naive reader's."""
    body = start + b"[" * levels + end
    expected = Refusal.NESTED_TOO_DEEP if naive_depth(body) > DEEPEST else None
    assert refused(gauge_for(b"", None, MOST), cut(body, places)) is expected


@given(st.lists(st.sampled_from([b"[" * 300, b"]" * 299, b"[]" * 200, b'"[["', b"{" * 211, b"}" * 7]), max_size=12))
def test_long_walks(parts: list[bytes]) -> None:
    """Blocks that are counted as a whole give the same verdict as a walk through them."""
    body = b"".join(parts)
    expected = Refusal.NESTED_TOO_DEEP if naive_depth(body) > DEEPEST else None
    assert refused(gauge_for(b"", None, MOST), [body]) is expected


def test_only_the_json_counts() -> None:
    """Of a binary-extension body only the JSON in front is measured, however it is cut."""
    body = b"[]" + b"[" * 600
    assert refused(gauge_for(b"", 2, MOST), [body]) is None
    assert refused(gauge_for(b"", 2, MOST), [body[:1], body[1:5], body[5:]]) is None
    assert refused(gauge_for(b"", 0, MOST), [body]) is None
    assert refused(gauge_for(b"", 2 + 513, MOST), [body[:100], body[100:]]) is Refusal.NESTED_TOO_DEEP


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"GZIP", b"gzip,identity"])
@pytest.mark.parametrize(("levels", "verdict"), [(DEEPEST, None), (DEEPEST + 1, Refusal.NESTED_TOO_DEEP)])
def test_compressed(coding: bytes, levels: int, verdict: Refusal | None) -> None:
    """A compressed body is measured inflated, whole or byte by byte."""
    plain = b"[" * levels + b"]" * levels
    body = zlib.compress(plain) if coding == b"deflate" else gzip.compress(plain)
    assert refused(gauge_for(coding, None, MOST), [body]) is verdict
    assert refused(gauge_for(coding, None, MOST), [bytes([byte]) for byte in body]) is verdict


def test_an_uncompressed_name_changes_nothing() -> None:
    """A coding that Triton does not inflate leaves the bytes to be what they are."""
    assert refused(gauge_for(b"identity", None, MOST), [b"[" * 513]) is Refusal.NESTED_TOO_DEEP


def test_what_cannot_be_inflated_is_refused() -> None:
    """A body that is not what its coding says is refused, for what came out before the mistake would be parsed."""
    body = gzip.compress(b"[" * 100_000)
    assert refused(gauge_for(b"gzip", None, MOST), [b"not gzip"]) is Refusal.MALFORMED
    assert refused(gauge_for(b"gzip", None, MOST), [body[:-8] + b"\0" * 8]) is not None
    assert refused(gauge_for(b"gzip", None, MOST), [gzip.compress(b"[]")[:-8] + b"\1" * 8]) is Refusal.MALFORMED


def test_a_bomb_is_refused() -> None:
    """A body that inflates to more than the limit is refused as too large, and inflated no further."""
    bomb = gzip.compress(b" " * 50_000_000)
    assert refused(gauge_for(b"gzip", None, MOST), [bomb]) is Refusal.TOO_LARGE


@pytest.mark.parametrize("unit", [b'\\"', b'"', b'"\\', b'""', b"[]", b"\\", b'"\\\\', b"[[]"])
def test_time_grows_with_the_length_alone(unit: bytes) -> None:
    """No repeated pattern makes the walk quadratic: four times the body takes nowhere near sixteen times as long."""

    def took_s(count: int) -> float:
        body = b'"' + unit * count
        best = 1e9
        for _ in range(3):
            began = time.perf_counter()
            gauge_for(b"", None, MOST).fault(body)
            best = min(best, time.perf_counter() - began)
        return best

    assert took_s(80_000) < 10 * max(took_s(20_000), 0.001)


@pytest.mark.parametrize("levels", [512, 513])
@pytest.mark.parametrize("start", [b"", b'"[[[\\"[[["', b" " * 400_000])
@pytest.mark.parametrize("in_chunks", [False, True])
async def test_nesting(rig: Rig, levels: int, start: bytes, *, in_chunks: bool) -> None:
    """JSON of 512 levels passes, of 513 never reaches a model whole, wherever in the body it is."""
    body = start + b"[" * levels
    pieces = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
    answer = await rig.ask(post(chunked=pieces) if in_chunks else post(body=body))
    await rig.rests()
    assert answer.code == (200 if levels == 512 else 400)
    assert rig.requests == (levels == 512)


async def test_nesting_behind_a_large_json_part(rig: Rig) -> None:
    """A JSON part so long that it is streamed is measured to its end, and the tensors after it are not."""
    json = b" " * 300_000 + b"[" * 513
    headers = [f"Inference-Header-Content-Length: {len(json)}"]
    assert (await rig.ask(post(body=json + b"tensors", headers=headers))).code == 400
    headers = ["Inference-Header-Content-Length: 300000"]
    assert (await rig.ask(post(body=json, headers=headers))).code == 200
    await rig.rests()
    assert rig.requests == 1


async def test_nesting_in_a_compressed_body(rig: Rig) -> None:
    """Compression hides no depth: the body is measured inflated, and goes on as it came."""
    deep, flat = gzip.compress(b"[" * 250_000), gzip.compress(b"[[1.5, 2.5]]" * 10)
    assert (await rig.ask(post(body=deep, headers=["Content-Encoding: gzip"]))).code == 400
    assert (await rig.ask(post(body=flat, headers=["Content-Encoding: gzip"]))).code == 200
    assert [request.body for request in rig.upstream.requests] == [flat]


@pytest.mark.parametrize("path", ["/v2/models/m/generate", "/v2/models/m/generate_stream"])
async def test_nesting_counts_for_generation(rig: Rig, path: str) -> None:
    """Every path with a JSON body is measured."""
    assert (await rig.ask(post(path, b"[" * 513))).code == 400
