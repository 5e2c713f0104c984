"""Every path of the protocol is understood, and nothing that a client writes there does any harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway import paths
from serving.gateway.paths import Operation, Target, target_of

KNOWN = [
    ("/v2", Operation.SERVER, "GET"),
    ("/v2/health/live", Operation.LIVE, "GET"),
    ("/v2/health/ready", Operation.READY, "GET"),
    ("/v2/repository/index", Operation.INDEX, "POST"),
    ("/v2/repository/anything/index", Operation.INDEX, "POST"),
    ("/v2/models/stats", Operation.ALL_STATS, "GET"),
    ("/v2/repository/models/m/load", Operation.LOAD, "POST"),
    ("/v2/repository/models/m/unload", Operation.LOAD, "POST"),
    ("/v2/systemsharedmemory/status", Operation.NOT_OFFERED, ""),
    ("/v2/systemsharedmemory/region/r/register", Operation.NOT_OFFERED, ""),
    ("/v2/cudasharedmemory/region/r/unregister", Operation.NOT_OFFERED, ""),
    ("/v2/cudasharedmemory/status", Operation.NOT_OFFERED, ""),
    ("/v2/trace/setting", Operation.NOT_OFFERED, ""),
    ("/v2/models/m/trace/setting", Operation.NOT_OFFERED, ""),
    ("/v2/logging", Operation.NOT_OFFERED, ""),
]
OF_A_MODEL = [
    ("", Operation.METADATA, "GET"),
    ("/ready", Operation.MODEL_READY, "GET"),
    ("/config", Operation.CONFIG, "GET"),
    ("/stats", Operation.STATS, "GET"),
    ("/infer", Operation.INFER, "POST"),
    ("/generate", Operation.GENERATE, "POST"),
    ("/generate_stream", Operation.GENERATE_STREAM, "POST"),
]
NOWHERE = [
    "", "/", "*", "/v1", "/v2x", "/V2", "//v2", "/v2/health", "/v2/health/live/", "/v2/health/readyx", "/v2/loggings",
    "/v2/tracer", "/v2/models", "/v2/models/", "/v2/models//infer", "/v2/models/m/", "/v2/models/m/infer/",
    "/v2/models/m/inferx", "/v2/models/m/INFER", "/v2/models/m/in%66er", "/v2/models/m/versions",
    "/v2/", "/v2/models/m/versions/infer",
    "/v2/models/m/versions/1/", "/v2/models/m/versions/1/nonsense", "/v2/models/m/x/versions/1/infer",
    "/v2/repository", "/v2/repository/models/m", "/v2/models/m/infer#x", "ftp://h/v2", "http:/v2", "://h/v2", "http://h",
]  # fmt: skip


@pytest.mark.parametrize(("path", "operation", "method"), KNOWN)
def test_fixed_paths(path: str, operation: Operation, method: str) -> None:
    """Each path without a model names its operation and the one method that it answers to."""
    target = target_of(path.encode())
    assert (target.operation, target.method.decode()) == (operation, method)


@pytest.mark.parametrize("query", ["", "?a=b&c=%2F", "?", "?x=/v2/models/n/infer"])
@pytest.mark.parametrize("version", [None, "1", "2147483647", "01"])
@pytest.mark.parametrize(("verb", "operation", "method"), OF_A_MODEL)
def test_paths_of_a_model(verb: str, operation: Operation, method: str, version: str | None, query: str) -> None:
    """Each path of a model names it, its version where there is one, and what the upstream's path ends with."""
    place = "" if version is None else f"/versions/{version}"
    target = target_of(f"/v2/models/m{place}{verb}{query}".encode())
    assert target == Target(operation, method.encode(), "m", version, (verb + query).encode())
    assert target.number == int(version or 0)


@pytest.mark.parametrize("path", NOWHERE)
def test_other_paths_are_unknown(path: str) -> None:
    """A path that the protocol does not have is nobody's, and any method gets the same answer there."""
    assert target_of(path.encode()) == paths.UNKNOWN


@pytest.mark.parametrize(
    ("quoted", "name"), [("a%2Fb", "a/b"), ("%6d", "m"), ("%", "%"), ("%zz", "%zz"), ("%ff", "\ufffd"), ("a%00", "a\0")]
)
def test_percent_encoding(quoted: str, name: str) -> None:
    """A model's name is decoded once; what is no encoding stands for itself."""
    assert target_of(f"/v2/models/{quoted}/infer".encode()).model == name


@pytest.mark.parametrize("version", ["", "0", "-1", "+1", "1.0", "x", "\u0661", "1e3", "9" * 11, "%31x"])
def test_what_is_no_version_has_no_number(version: str) -> None:
    """A version in the path that is no positive number is 0, which no version has."""
    assert target_of(f"/v2/models/m/versions/{version}/infer".encode()).number == 0


@pytest.mark.parametrize("url", ["http://gateway/v2/models/m/infer?a=b", "HTTPS://gateway:8000/v2/models/m/infer?a=b"])
def test_absolute_form(url: str) -> None:
    """A request line with a whole URL means what its path means."""
    assert target_of(url.encode()) == target_of(b"/v2/models/m/infer?a=b")


@given(st.one_of(st.binary(max_size=80), st.text(alphabet="/v2modelsinfer%?#:.0123", max_size=60).map(str.encode)))
def test_nothing_raises(url: bytes) -> None:
    """Any bytes have a target."""
    assert target_of(url).number >= 0


def test_what_is_remembered_is_bounded() -> None:
    """A client that asks for ever new paths fills no memory: neither by their number nor by their length."""
    for number in range(paths._REMEMBERED + 10):
        target_of(b"/v2/models/m/infer?%d" % number)
    target_of(b"/v2/models/m/infer?" + b"x" * 10_000)
    assert len(paths._remembered) <= paths._REMEMBERED
    assert max(map(len, paths._remembered)) <= paths._LONGEST_REMEMBERED
