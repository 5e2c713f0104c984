"""`sluice feedback` and `sluice rollout results` against the real control API with a real Valkey."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.control.store import connect
from serving.control.valkey import EmbeddedValkey
from tests.serving.feedback import minted, ring_of
from tests.serving.rolling_room import RollingRoom, rolling_room
from tests.serving.test_cli import Command, sluice
from tests.valkey import valkey

__all__ = ["sluice", "valkey"]


@pytest.fixture
def room(valkey: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RollingRoom]:
    """A control room of this test's own, which SLUICE_URL names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLUICE_CONFIG", raising=False)
    with rolling_room(valkey.url, f"test-{secrets.token_hex(6)}") as there:
        monkeypatch.setenv("SLUICE_URL", there.address)
        yield there


def ids(room: RollingRoom, count: int) -> list[str]:
    """Of as many answers of version 1, as a gateway would have made them."""

    async def made() -> list[str]:
        store = connect(room.url, room.namespace)
        try:
            key = ring_of(await store.ensure_keys()).current
        finally:
            await store.close()
        return [minted(key, nonce, at_s=int(time.time())) for nonce in range(count)]

    return asyncio.run(made())


def test_one_request_and_many_are_told_and_shown(sluice: Command, room: RollingRoom) -> None:
    """The exit code says whether all of it was counted; sent again, nothing counts twice."""
    first, second, *many = ids(room, 2_502)
    assert sluice("feedback", "send", "--request-id", first, "reward=1", "cost=2.5").out == "2 accepted\n"
    labelled = sluice("feedback", "send", "--request-id", second, "--label", "cat", "--predicted", "dog")
    assert (labelled.code, labelled.out) == (0, "2 accepted\n")
    lines = [json.dumps({"request_id": one, "metrics": {"reward": 0.5}}) for one in many]
    Path("feedback.jsonl").write_text("\n".join(lines) + "\n\n")
    assert sluice("feedback", "send", "--file", "feedback.jsonl").out == "2,500 accepted\n"
    again = sluice("feedback", "send", "-f", "feedback.jsonl", "--json")
    assert (again.code, json.loads(again.out)["counts"]) == (0, {"duplicate": 2_500})
    shown = sluice("feedback", "show", "digits").out
    for part in ("reward", "2,501", "0.5002", "cat", "dog", "correct"):
        assert part in shown
    assert (
        json.loads(sluice("feedback", "show", "digits", "--json").out)["versions"]["1"]["metrics"]["cost"]["mean"]
        == 2.5
    )


def test_what_was_not_counted_is_said(sluice: Command, room: RollingRoom) -> None:
    """Exit code 1 with the reason of each; a line that is no item ends it, with its number."""
    forged = sluice("feedback", "send", "--request-id", "A" * 68, "reward=1")
    assert (forged.code, forged.out) == (1, "1 forged\n")
    assert "no key of this installation has made this request id" in forged.err
    Path("bad.jsonl").write_text('{"request_id": "x", "metrics": {"a": 1}}\nnothing\n')
    bad = sluice("feedback", "send", "--file", "bad.jsonl")
    assert bad.code == 1
    assert "bad.jsonl, line 2 is no item of feedback" in bad.err
    assert sluice("feedback", "send", "--file", "nowhere.jsonl").code == 1


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("reward=1",),
        ("--request-id", "x"),
        ("--request-id", "x", "--file", "f", "a=1"),
        ("--request-id", "x", "a=b"),
    ],
    ids=range(5),
)
def test_what_says_nothing_is_wrong_usage(sluice: Command, words: tuple[str, ...]) -> None:
    """Exit code 2, and nobody is asked; an id alone is told what it lacks."""
    assert sluice("feedback", "send", "--url", "http://127.0.0.1:9", *words).code in {1, 2}


def test_an_ab_test_by_a_metric_is_started_and_its_results_are_shown(sluice: Command, room: RollingRoom) -> None:
    """`--by` names it; before there is feedback the results say that there is none."""
    started = sluice("rollout", "start", "digits", "--ab", "2=50%", "--for", "1d", "--by", "cost:lower")
    assert started.code == 0, started.err
    assert "of feedback, lower is better, decides" in started.out
    assert sluice("rollout", "wait", "digits", "--for", "running", "--timeout", "20s").code == 0
    shown = sluice("rollout", "results", "digits")
    assert shown.code == 0, shown.err
    assert "cost (decides)" in shown.out
    assert json.loads(sluice("rollout", "results", "digits", "--json").out)["winner"] is None
    assert sluice("rollout", "start", "digits", "--ab", "2=50%", "--for", "1d", "--by", "cost:up").code == 2
    assert sluice("rollout", "start", "digits", "--candidate", "2", "--canary", "50", "--by", "cost").code == 2
