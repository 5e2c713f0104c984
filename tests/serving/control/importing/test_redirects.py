"""A tracking server that sends its reader on, or its files elsewhere, gets nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.errors import RegistryError
from serving.control.importing.fetching import Server, fetch
from serving.control.importing.source import Source, SourceUnavailable, Taken
from tests.serving.outgoing_servers import answer, listening, saying


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_of_a_tracking_server_is_not_followed(tmp_path: Path, status: int) -> None:
    """Wherever it leads, nobody is asked there, and least of all with the credentials of the first."""
    async with listening(saying(answer(200, b"{}"))) as inside:
        redirect = answer(status, b"", f"location: {inside.url}/latest/meta-data")
        async with listening(saying(redirect)) as server:
            with pytest.raises((SourceUnavailable, RegistryError)):
                await fetch(
                    Source.of("mlflow:/iris/1"), Server(server.url, (), limit_s=60, answer_s=5), tmp_path,
                    Taken("iris", frozenset()),
                )  # fmt: skip
            assert server.heads
        assert inside.heads == []


async def test_a_file_that_is_too_large_ends_the_import(mlflow_uri: str, tmp_path: Path) -> None:
    """In a sentence, before it has filled the disk."""
    bound = 2_000
    with pytest.raises(SourceUnavailable, match="could not be asked for"):
        await fetch(
            Source.of("mlflow:/iris/1"), Server(mlflow_uri, (), limit_s=60, answer_s=5, largest_file=bound), tmp_path,
            Taken("iris", frozenset()),
        )  # fmt: skip
    assert [size for size in _sizes(tmp_path / "model") if size > bound] == []


def _sizes(folder: Path) -> list[int]:
    return [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
