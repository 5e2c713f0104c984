"""What is staged is known everywhere before it is active anywhere, and changes nothing else about a snapshot."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.codec import decode_snapshot, encode_snapshot, snapshot_reader_of
from router.epoch import EMPTY, Entry, Snapshot
from router.errors import PolicyError

ACTIVE = EMPTY.with_policy("digits", "blue", parent="").with_policy("fraud", "f", parent="s1")
STAGED = ACTIVE.with_staged("digits", "green", parent="s2")


def test_staging_changes_what_is_staged_and_nothing_else() -> None:
    """The model's revision stands: what runs has not changed."""
    assert (STAGED.epoch, STAGED.parent) == (3, "s2")
    assert STAGED.models == ACTIVE.models
    assert dict(STAGED.staged) == {"digits": "green"}
    assert STAGED.digests == {"blue", "f", "green"}


def test_what_becomes_active_is_staged_no_more() -> None:
    """And what is staged for another model stays."""
    both = STAGED.with_staged("fraud", "g", parent="s3")
    active = both.with_policy("digits", "green", parent="s4")
    assert active.models["digits"] == Entry("green", 2)
    assert dict(active.staged) == {"fraud": "g"}


def test_staging_is_taken_back() -> None:
    """Then the snapshot needs nothing of it any more."""
    back = STAGED.with_staged("digits", None, parent="s3")
    assert (dict(back.staged), back.models, back.epoch) == ({}, ACTIVE.models, 4)


def test_only_where_it_is_used_does_a_snapshot_ask_for_more_of_its_reader() -> None:
    """A snapshot without anything staged has the bytes that it always had."""
    assert (snapshot_reader_of(ACTIVE), snapshot_reader_of(STAGED)) == (1, 2)
    assert b"staged" not in encode_snapshot(ACTIVE)
    assert json.loads(encode_snapshot(STAGED))["staged"] == {"digits": "green"}


_MODELS = st.dictionaries(st.sampled_from("abc"), st.builds(Entry, st.sampled_from(["p", "q"]), st.integers(1, 9)))


@given(st.data())
def test_a_snapshot_comes_back_from_its_bytes(data: st.DataObject) -> None:
    """Whatever is staged in it."""
    models = data.draw(_MODELS)
    staged = data.draw(st.dictionaries(st.sampled_from(sorted(models) or ["-"]), st.just("d"))) if models else {}
    snapshot = Snapshot(3, "p", models, staged)
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot


@pytest.mark.parametrize("staged", [{"other": "d"}, {"digits": ""}, {"digits": 3}, [], "green", None, {"digits": None}])
def test_what_cannot_be_staged_is_refused(staged: Any) -> None:  # noqa: ANN401 - whatever somebody wrote
    """A policy for a model that has none, and what is no digest."""
    plain = json.loads(encode_snapshot(STAGED)) | {"staged": staged}
    if staged == []:  # an empty list says as little as an empty object
        assert decode_snapshot(json.dumps(plain).encode()).staged == {}
        return
    with pytest.raises(PolicyError):
        decode_snapshot(json.dumps(plain).encode())
