"""A server gets the flags that its repository asks for, and none else."""

from pathlib import Path

import pytest

from serving.errors import StartFailed
from serving.triton.binary import TritonBinary
from serving.triton.flags import CACHE_BYTES, server_flags
from serving.triton.layout import Repository
from tests.serving.triton.made import server_with


def test_a_repository_that_asks_for_nothing_gets_nothing(tmp_path: Path) -> None:
    """Also where the server could give it."""
    assert server_flags(Repository(tmp_path, complete=True), server_with(tmp_path, cache=True)) == []


def test_a_cache_is_asked_for_with_its_size_and_place(tmp_path: Path) -> None:
    """The folder is said where it is not the server's own."""
    repository = Repository(tmp_path, complete=True, response_cache=True)
    own = server_with(tmp_path, cache=True)
    assert server_flags(repository, own) == [f"--cache-config=local,size={CACHE_BYTES}"]
    caches = tmp_path / "caches"
    named = TritonBinary(Path("/elsewhere/bin/tritonserver"), cache_directory=caches)
    assert server_flags(repository, named)[1:] == [f"--cache-directory={caches}"]


def test_a_server_without_a_cache_is_refused(tmp_path: Path) -> None:
    """The sentence names the server."""
    with pytest.raises(StartFailed, match=str(tmp_path)):
        server_flags(Repository(tmp_path, complete=True, response_cache=True), server_with(tmp_path))


def test_resources_are_given_with_their_amounts(tmp_path: Path) -> None:
    """And the limiter is turned on, which it is not by itself."""
    repository = Repository(tmp_path, complete=True, rate_limits={"b": 2, "a": 1})
    assert server_flags(repository, server_with(tmp_path)) == [
        "--rate-limit=execution_count",
        "--rate-limit-resource=a:1",
        "--rate-limit-resource=b:2",
    ]
