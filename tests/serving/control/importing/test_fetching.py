"""A version's files and facts come from a real tracking server, and every way not to get them is a sentence."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from registry.errors import Conflict, NotFound, Unacceptable
from serving.control.importing import fetching
from serving.control.importing.facts import Facts
from serving.control.importing.fetching import Server, fetch
from serving.control.importing.source import Source, SourceUnavailable, Taken
from tests.serving.control.importing.logged_facts import COMMIT
from tests.serving.control.importing.tracking_server import answering, silent


async def fetched(
    text: str, uri: str, folder: Path, sources: Sequence[str] = (), numbers: frozenset[int] = frozenset()
) -> Facts:
    """What the server says of that source."""
    return await fetch(Source.of(text), Server(uri, sources, limit_s=60, answer_s=5), folder, Taken("iris", numbers))


@pytest.mark.parametrize("text", ["mlflow:/iris/1", "mlflow:/iris@champion"])
async def test_what_has_a_number_of_the_settings_is_not_downloaded(mlflow_uri: str, tmp_path: Path, text: str) -> None:
    """By number or by alias: as soon as the server has said which number it is."""
    with pytest.raises(Conflict, match="iris version 1 is in the settings") as caught:
        await fetched(text, mlflow_uri, tmp_path, numbers=frozenset({1, 4}))
    assert "above 4, with --number" in caught.value.hint
    assert not (tmp_path / "model").exists()


async def test_a_version_comes_with_all_that_is_said_of_it(mlflow_uri: str, tmp_path: Path) -> None:
    """Files, run, tags and aliases, by number."""
    facts = await fetched("mlflow:/iris/1", mlflow_uri, tmp_path)
    assert (facts.name, facts.version, facts.tags) == ("iris", 1, {"reviewed": "yes"})
    assert sorted(facts.aliases) == ["best-of-all", "champion"]
    assert facts.run is not None
    assert facts.run.params["solver"] == "lbfgs"
    assert facts.run.metrics["accuracy"] == 0.97
    assert facts.run.tags["mlflow.source.git.commit"] == COMMIT
    assert [(one.name, one.context) for one in facts.run.datasets] == [("iris", "training")]
    assert {"MLmodel", "model.skops"} <= {path.name for path in (tmp_path / "model").iterdir()}
    assert (tmp_path / "log").read_text() == ""
    assert (tmp_path / "request.json").stat().st_mode & 0o077 == 0


async def test_an_alias_is_the_version_that_it_points_at(mlflow_uri: str, tmp_path: Path) -> None:
    """As the server has it at that moment."""
    facts = await fetched("mlflow:/iris@champion", mlflow_uri, tmp_path)
    assert (facts.version, sorted(facts.aliases)) == (1, ["best-of-all", "champion"])


@pytest.mark.parametrize("text", ["mlflow:/iris/99", "mlflow:/iris@nobody"])
async def test_what_is_not_there_is_said_to_be_missing(mlflow_uri: str, tmp_path: Path, text: str) -> None:
    """Not that the server could not be asked."""
    with pytest.raises(NotFound, match=f"The tracking server has no {text}"):
        await fetched(text, mlflow_uri, tmp_path)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>hello</html>", "could not be asked for mlflow:/iris/1"),
        (200, b"{}", "answers as no tracking server does"),
        (302, b"", "could not be asked"),
        (401, b"who?", "does not let us in"),
    ],
)
async def test_a_server_that_is_none_is_told_from_one(tmp_path: Path, status: int, body: bytes, words: str) -> None:
    """A sentence, with the server's address; a redirection is not followed."""
    with answering(status, body) as uri, pytest.raises(SourceUnavailable, match=words) as caught:
        await fetched("mlflow:/iris/1", uri, tmp_path)
    assert uri in caught.value.sentence
    assert caught.value.hint


async def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With what the network says, and without the password of its address."""
    with silent() as uri:
        port = uri.rpartition(":")[2]
    with pytest.raises(SourceUnavailable, match="Connection refused") as caught:
        await fetched("mlflow:/iris/1", f"http://ada:secret@127.0.0.1:{port}", tmp_path)
    assert "secret" not in caught.value.sentence


@pytest.mark.parametrize("status", [404, 500, 503])
async def test_no_answer_tells_the_password(tmp_path: Path, status: int) -> None:
    """MLflow's client puts the address into what it says; long, it would be cut in the middle of the password."""
    with answering(status, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}') as uri:
        address = uri.replace("//", f"//ada:s@cret{'s@cret' * 60}@")
        with pytest.raises((NotFound, SourceUnavailable)):
            await fetched("mlflow:/iris/1", address, tmp_path)
    answer = (tmp_path / "answer.json").read_text()
    assert "problem" in answer
    assert "cret" not in answer


def test_the_last_words_of_a_process_tell_no_password(tmp_path: Path) -> None:
    """Whoever it was that put the address there."""
    (tmp_path / "log").write_text("Traceback\nOSError: cannot ask http://ada:secret@h:1/x nor //b@i/")
    assert fetching._last_line(tmp_path / "log") == "OSError: cannot ask http://h:1/x nor //i/"


async def test_a_server_that_says_nothing_does_not_hold_us_up(tmp_path: Path) -> None:
    """The process that waits for it is ended at the deadline."""
    with silent() as uri, pytest.raises(SourceUnavailable, match=r"did not hand mlflow:/iris/1 over within 0.5 s"):
        await fetch(Source.of("mlflow:/iris/1"), Server(uri, limit_s=0.5), tmp_path, Taken("iris"))
    lines = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    assert [line for line in lines if str(tmp_path) in line] == []


async def test_without_the_client_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install, in the command that installs it."""
    monkeypatch.setattr(fetching, "find_spec", lambda _: None)
    with pytest.raises(Unacceptable) as caught:
        await fetched("mlflow:/iris/1", "http://127.0.0.1:9", tmp_path)
    assert "sluice-gateway[mlflow]" in caught.value.hint


async def test_a_process_that_breaks_off_says_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a half-installed client."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SourceUnavailable, match="broke off"):
        await fetched("mlflow:/iris/1", "http://127.0.0.1:9", tmp_path)
