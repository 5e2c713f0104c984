"""Endpoints check themselves and travel as JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.endpoint import (
    LONGEST_WORDS,
    NO_LOAD,
    RECENT_MS,
    Crash,
    Endpoint,
    Load,
    decode,
    decode_load,
    encode_leased,
    next_start_ms,
    pause_s,
)

ENDPOINTS = st.builds(
    Endpoint,
    host=st.from_regex(r"\A[A-Za-z0-9.:_-]{1,40}\Z"),
    http_port=st.integers(1, 65_535),
    grpc_port=st.integers(0, 65_535),
    model=st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,40}\Z"),
    version=st.integers(1, 2**63 - 1),
    capacity=st.integers(1, 65_535),
    tls=st.booleans(),
)


@given(ENDPOINTS)
def test_an_endpoint_survives_its_journey(endpoint: Endpoint) -> None:
    """What is encoded and decoded is the same endpoint."""
    assert decode(endpoint.encode()) == endpoint
    assert decode(endpoint.encode().encode()) == endpoint


@given(ENDPOINTS, ENDPOINTS)
def test_keys_tell_endpoints_apart(one: Endpoint, other: Endpoint) -> None:
    """Two endpoints share a key only if they share host, port, model, version and whether they are encrypted."""
    same = (one.host, one.http_port, one.model, one.version, one.tls) == (
        other.host,
        other.http_port,
        other.model,
        other.version,
        other.tls,
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
        *[("tls", bad) for bad in (1, "true", None)],
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


def test_an_endpoint_in_the_clear_says_no_more_than_before() -> None:
    """Its lease has the bytes that earlier releases wrote, and one that is encrypted has one field more."""
    plain = '{"capacity":1,"grpc_port":0,"host":"h","http_port":1,"model":"m","version":1}'
    assert Endpoint("h", 1, 0, "m", 1).encode() == plain
    assert json.loads(Endpoint("h", 1, 0, "m", 1, tls=True).encode()) == {**json.loads(plain), "tls": True}
    assert '"tls"' not in encode_leased(Endpoint("h", 1, 0, "m", 1), NO_LOAD)


LOADS = st.builds(Load, st.none() | st.integers(0, 2**40), st.none() | st.floats(0, 1e9))


@given(ENDPOINTS, LOADS)
def test_a_load_travels_beside_its_endpoint(endpoint: Endpoint, load: Load) -> None:
    """Who wants the endpoint alone reads the same, whatever the load is."""
    text = encode_leased(endpoint, load)
    assert (decode(text), decode_load(text)) == (endpoint, load)
    assert encode_leased(endpoint, None) == endpoint.encode()
    assert decode_load(endpoint.encode()) == NO_LOAD


@pytest.mark.parametrize("load", ["1", "null", "[]", '{"pending": "x"}', '{"pending": -1}', '{"throughput": "NaN"}'])
def test_a_load_that_cannot_be_read_is_none(load: str) -> None:
    """And its endpoint serves on."""
    text = Endpoint("h", 1, 0, "m", 1).encode()[:-1] + f',"load":{load}}}'
    assert decode_load(text) == NO_LOAD
    assert decode(text).model == "m"


@pytest.mark.parametrize(
    "values", [(-1, None), (True, None), (1.5, None), (None, -1.0), (None, float("nan")), (None, "1")]
)
def test_what_is_no_load_is_refused(values: tuple[object, object]) -> None:
    """Where it is built."""
    with pytest.raises(ValueError, match="A load's"):
        Load(*values)  # type: ignore[arg-type]


def test_only_the_end_of_a_servers_words_is_kept() -> None:
    """That is where it says why."""
    crash = Crash(1, -9, "h", "x" * 5_000 + "why")
    assert (len(crash.words), crash.words[-3:]) == (LONGEST_WORDS, "why")


def crashes(*ages_s: float, now_ms: int = 10_000_000) -> list[Crash]:
    """Crashes of these ages, newest first."""
    return [Crash(now_ms - round(age * 1000), 1, "h", "") for age in ages_s]


def test_pauses_grow_to_a_minute() -> None:
    """From a second on."""
    assert [pause_s(crashes(*[0] * count)) for count in (0, 1, 2, 3, 6, 7, 8, 100)] == [0, 1, 2, 4, 32, 60, 60, 60]


def test_the_next_start_waits_after_a_second_crash() -> None:
    """A first one costs nothing, nor does one that is long ago."""
    assert next_start_ms(crashes(0), 10_000_000) is None
    assert next_start_ms(crashes(0, 5, 9), 10_000_000) == 10_002_000
    assert next_start_ms(crashes(3, 5, 9), 10_000_000) is None
    assert next_start_ms(crashes(0, RECENT_MS / 1000), 10_000_000) is None
