"""What gateways and the control room tell each other survives the journey, and garbage does not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.epoch import Head
from serving.figures import Figures, bucket_of
from serving.leases import (
    GatewayLease,
    IdKeys,
    Recovery,
    decode_applied,
    decode_gateway,
    decode_recovery,
    head_from,
    id_keys_from,
    next_key_id,
    remembered,
    with_figures,
)
from serving.store_keys import Keys
from serving.stream_counts import BOUNDS_S, StreamCounts

counts = st.integers(0, 2**53)
figures = st.builds(Figures, counts, counts, st.dictionaries(st.integers(0, 2**36).map(bucket_of), counts, max_size=4))
buckets = st.lists(counts, min_size=len(BOUNDS_S) + 1, max_size=len(BOUNDS_S) + 1).map(tuple)
streams = st.builds(
    StreamCounts,
    of=st.text(max_size=8),
    role=st.text(max_size=8),
    ended=st.dictionaries(st.text(max_size=8), counts, max_size=3),
    events=counts,
    errors=counts,
    first=buckets,
    first_us=counts,
    gaps=buckets,
    gaps_us=counts,
)
leases = st.builds(
    GatewayLease,
    id=st.from_regex(r"[A-Za-z0-9._:-]{1,20}", fullmatch=True),
    boot=st.text(max_size=8),
    pid=counts,
    host=st.text(max_size=8),
    http_port=counts,
    epoch=counts,
    digest=st.text(max_size=8),
    held=st.none() | st.text(max_size=8),
    workers=counts,
    connections=counts,
    in_flight=counts,
    requests=st.dictionaries(st.text(max_size=8), counts, max_size=3),
    in_flight_by=st.dictionaries(st.text(max_size=8), counts, max_size=3),
    figures=st.dictionaries(st.text(max_size=8), figures, max_size=3),
    streams=st.lists(streams, max_size=3).map(tuple),
    endings=st.dictionaries(st.text(max_size=8), counts, max_size=3),
    ejected=st.dictionaries(st.text(max_size=8), counts, max_size=3),
    braked=st.dictionaries(st.text(max_size=8), counts, max_size=3),
    access=counts,
    reader=counts,
)


@given(leases)
def test_a_lease_comes_back_from_its_text(lease: GatewayLease) -> None:
    """Every field, as text or as bytes; figures come from the text beside it."""
    plain = replace(lease, figures={}, streams=(), endings={}, ejected={}, braked={})
    assert decode_gateway(lease.encode()) == decode_gateway(lease.encode().encode()) == plain
    assert with_figures(plain, lease.encode_figures()) == with_figures(plain, lease.encode_figures().encode()) == lease


@given(leases)
def test_what_a_gateway_goes_by_comes_back_from_its_text(lease: GatewayLease) -> None:
    """It is what the lease says too, and what a newer release adds is passed over."""
    said = lease.applied.encode()
    newer = json.dumps(json.loads(said) | {"more": 1})
    assert decode_applied(said) == decode_applied(said.encode()) == decode_applied(newer) == lease.applied
    assert lease.applied == (lease.epoch, lease.digest, lease.access)


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "{}", "7", b"\xff", '{"epoch": 1, "digest": "d"}',
        '{"epoch": -1, "digest": "d", "access": 0}', '{"epoch": 1, "digest": null, "access": 0}',
        '{"epoch": 1, "digest": "d", "access": true}',
    ],
)  # fmt: skip
def test_what_nobody_goes_by_is_refused(text: str | bytes) -> None:
    """With a ValueError, which readers expect."""
    with pytest.raises(ValueError, match=r".*"):
        decode_applied(text)


@given(leases)
def test_figures_make_no_lease_longer(lease: GatewayLease) -> None:
    """It is read many times a second by those who do not show them."""
    assert lease.encode() == replace(lease, figures={}, streams=(), endings={}, ejected={}, braked={}).encode()


def test_figures_of_another_boot_are_not_this_ones() -> None:
    """A successor under the same id may have written its own already, or not yet."""
    lease = GatewayLease("g", "b", 1, "h", 2, 3, "d", figures={"m/1": Figures(2, 1)})
    assert with_figures(GatewayLease("g", "next", 1, "h", 2, 3, "d"), lease.encode_figures()).figures == {}


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"boot": "b", "figures": [], "streams": []}', b"\xff"])
def test_what_are_no_figures_is_refused(text: str | bytes) -> None:
    """With a ValueError, which readers expect."""
    with pytest.raises(ValueError, match=r".*"):
        with_figures(GatewayLease("g", "b", 1, "h", 2, 3, "d"), text)


def test_a_newer_release_may_say_more() -> None:
    """Unknown fields are passed over, so that gateways of two releases can be seen side by side."""
    lease = GatewayLease("g", "b", 1, "h", 2, 3, "d")
    assert decode_gateway(lease.encode()[:-1] + ',"writer":2}') == lease


def test_an_older_release_may_say_less() -> None:
    """What it does not count by version is nothing, it knows of no keys, and it reads the first form only."""
    said = json.loads(GatewayLease("g", "b", 1, "h", 2, 3, "d", in_flight_by={"m/1": 4}, access=5, reader=6).encode())
    for name in ("in_flight_by", "access", "reader"):
        del said[name]
    lease = decode_gateway(json.dumps(said))
    assert (lease.in_flight_by, lease.access, lease.reader) == ({}, 0, 1)
    beside = '{"boot": "b", "figures": {}, "streams": []}'
    assert with_figures(replace(lease, endings={"m/1/first/ok": 1}), beside).endings == {}


@pytest.mark.parametrize("count", ["many", -1, 1.5, None, True])
def test_a_count_beside_a_lease_that_is_none_is_refused(count: object) -> None:
    """As those in it."""
    lease = GatewayLease("g", "b", 1, "h", 2, 3, "d")
    for name in ("endings", "ejected", "braked"):
        said = json.loads(lease.encode_figures())
        with pytest.raises(ValueError, match="m/1"):
            with_figures(lease, json.dumps(said | {name: {"m/1": count}}))


@pytest.mark.parametrize("count", ["many", -1, 1.5, None, True])
def test_a_count_that_is_none_is_refused(count: object) -> None:
    """Whoever adds it up must not find out."""
    for name in ("requests", "in_flight_by"):
        said = json.loads(GatewayLease("g", "b", 1, "h", 2, 3, "d").encode())
        with pytest.raises(ValueError, match="m/1"):
            decode_gateway(json.dumps(said | {name: {"m/1": count}}))


NONE = (0,) * (len(BOUNDS_S) + 1)
STREAMS = StreamCounts("m/1", "first", {"complete": 1}, 2, 0, NONE, 0, NONE, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("of", None), ("role", 1), ("ended", {"complete": -1}), ("ended", [1]), ("events", 1.5), ("errors", True),
        ("first", [1, 2]), ("gaps", ["many", *NONE[1:]]), ("gaps", 7), ("first_us", None),
    ],
)  # fmt: skip
def test_what_is_said_of_streams_is_checked(name: str, value: object) -> None:
    """As all else that is added up."""
    lease = GatewayLease("g", "b", 1, "h", 2, 3, "d", streams=(STREAMS,))
    said = json.loads(lease.encode_figures())
    said["streams"][0][name] = value
    with pytest.raises(ValueError, match=r".*"):
        with_figures(lease, json.dumps(said))


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"id": "g"}', "[" * 9, b"\xff"])
def test_what_is_no_lease_is_refused(text: str | bytes) -> None:
    """With a ValueError, which readers expect."""
    with pytest.raises(ValueError, match=r".*"):
        decode_gateway(text)
    with pytest.raises(ValueError, match=r".*"):
        decode_recovery(text)


@given(st.integers(0, 2**53), st.binary(max_size=16), st.dictionaries(st.text(max_size=8), st.binary(max_size=16)))
def test_a_recovery_blob_keeps_its_bytes(epoch: int, snapshot: bytes, policies: dict[str, bytes]) -> None:
    """Whatever they are."""
    kept = Recovery(Head(epoch, "d", "p"), snapshot, policies)
    assert decode_recovery(kept.encode()) == kept


def test_a_head_is_read_from_its_hash() -> None:
    """None where there is none, an error where something is missing."""
    assert head_from({}) is None
    assert head_from({b"epoch": b"3", b"digest": b"d", b"parent": b"p", b"fence": b""}) == Head(3, "d", "p")
    with pytest.raises(ValueError, match="parent"):
        head_from({"epoch": "3", "digest": "d"})


def test_id_keys_are_read_from_their_hash_and_not_printed() -> None:
    """A secret in a log is none."""
    assert id_keys_from({}) is None
    keys = id_keys_from({b"current": b"7", b"7": b"c2VjcmV0", b"6": b"b2xk"})
    assert keys == IdKeys({7: b"secret", 6: b"old"}, 7)
    assert "secret" not in repr(keys)


def test_key_ids_go_round() -> None:
    """One byte: after 255 comes 0."""
    assert next_key_id(None, 12) == 12
    assert next_key_id(IdKeys({255: b""}, 255), 12) == 0


@pytest.mark.parametrize(
    ("value", "running", "digest"),
    [(None, "a", None), (b"a", "a", "a"), ("b", "a", "b"), (b"a b", "b", "b"), ("a b", "c", "a"), ("", "a", None)],
)
def test_a_joined_line_is_everybodys(value: str | bytes | None, running: str, digest: str | None) -> None:
    """After a fork both digests of an epoch are remembered, and each gateway finds its own."""
    assert remembered(value, running) == digest


@pytest.mark.parametrize("namespace", ["", "a{b", "a:b", "a b", "x" * 65])
def test_a_namespace_that_would_break_the_slot_is_refused(namespace: str) -> None:
    """Braces within braces would spread one installation's keys over the cluster."""
    with pytest.raises(ValueError, match="is no namespace"):
        Keys(namespace)
