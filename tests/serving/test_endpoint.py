"""Endpoints check themselves and travel as JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.endpoint import Endpoint, decode

ENDPOINTS = st.builds(
    Endpoint,
    host=st.from_regex(r"\A[A-Za-z0-9.:_-]{1,40}\Z"),
    http_port=st.integers(1, 65_535),
    grpc_port=st.integers(0, 65_535),
    model=st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,40}\Z"),
    version=st.integers(1, 2**63 - 1),
    capacity=st.integers(1, 65_535),
)


@given(ENDPOINTS)
def test_an_endpoint_survives_its_journey(endpoint: Endpoint) -> None:
    """What is encoded and decoded is the same endpoint."""
    assert decode(endpoint.encode()) == endpoint
    assert decode(endpoint.encode().encode()) == endpoint


@given(ENDPOINTS, ENDPOINTS)
def test_keys_tell_endpoints_apart(one: Endpoint, other: Endpoint) -> None:
    """Two endpoints share a key only if they share host, port, model and version."""
    same = (one.host, one.http_port, one.model, one.version) == (
        other.host,
        other.http_port,
        other.model,
        other.version,
    )
    assert (one.key == other.key) == same


def test_fields_of_a_newer_release_are_passed_over() -> None:
    """A field that this release does not know is no error, and a missing capacity is 1."""
    text = '{"host": "h", "http_port": 1, "grpc_port": 0, "model": "m", "version": 1, "zone": "a"}'
    assert decode(text) == Endpoint("h", 1, 0, "m", 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("host", bad) for bad in ("", "a b", "http://x", "[::1]", 1)],
        *[("http_port", bad) for bad in (0, 65_536, True, "80", 1.0)],
        *[("grpc_port", bad) for bad in (-1, None)],
        *[("model", bad) for bad in ("", "../x", "a/b", ".hidden", 'a"b', "a\n")],
        *[("version", bad) for bad in (0, -1, 2**63, True, "1")],
        ("capacity", 0),
    ],
)
def test_what_no_request_could_be_sent_to_is_refused(field: str, value: object) -> None:
    """A value that is not allowed is refused with its field's name."""
    good = {"host": "h", "http_port": 1, "grpc_port": 1, "model": "m", "version": 1, "capacity": 1}
    with pytest.raises(ValueError, match=field):
        decode(json.dumps(good | {field: value}))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"host": "h"}', "null"])
def test_text_that_is_no_endpoint_is_refused(text: str) -> None:
    """Text that is not JSON, or no object, or incomplete is refused."""
    with pytest.raises(ValueError, match=r"."):
        decode(text)
