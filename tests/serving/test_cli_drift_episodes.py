"""`sluice drift episodes` and what operators say to them, against the real control API with a real Valkey."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drift.keys import DriftKeys
from drift.reading import Layer
from drift.settings import DriftSettings
from serving.control.store import connect
from serving.control.valkey import EmbeddedValkey
from tests.drift.incidents import MODEL, STABLE, finding, status
from tests.e2e.system import until
from tests.serving.rolling_room import RollingRoom, rolling_room
from tests.serving.test_cli import Command, sluice
from tests.valkey import valkey

__all__ = ["sluice", "valkey"]

DRIFT = DriftSettings.model_validate({"act": "approve", "settle_s": 1})


@pytest.fixture
def room(valkey: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RollingRoom]:
    """A control room in which actions wait for an approval; SLUICE_URL names it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLUICE_CONFIG", raising=False)
    with rolling_room(valkey.url, f"test-{secrets.token_hex(6)}", drift=DRIFT) as there:
        monkeypatch.setenv("SLUICE_URL", there.address)
        yield there


def labels_show_harm(room: RollingRoom) -> None:
    """What a sidecar writes then."""

    async def write() -> None:
        store, keys = connect(room.url, room.namespace), DriftKeys(room.namespace)
        redis: Any = store._redis
        now_s = time.time()
        said = replace(status(STABLE, 10, Layer.LABELS), last_s=now_s)
        try:
            await redis.hset(keys.status, f"{MODEL}/{STABLE}", json.dumps(said.plain()))
            found = finding(STABLE, Layer.LABELS, at_s=now_s)
            await redis.xadd(keys.findings, {"f": json.dumps(found.plain())})
        finally:
            await store.close()

    asyncio.run(write())


def told(sluice: Command, *words: str) -> Any:  # noqa: ANN401 - any answer
    """What a command says as JSON."""
    done = sluice("drift", *words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_an_episode_is_seen_and_approved(sluice: Command, room: RollingRoom) -> None:
    """From the list, by its name; what waits goes out once."""
    assert "Nothing has drifted." in sluice("drift", "episodes").out
    labels_show_harm(room)
    (one,) = until(lambda: [one for one in told(sluice, "episodes")["episodes"] if one["cause"]], "an episode")
    assert (one["cause"], one["pending"]) == ("labels", "retrain")
    listed = sluice("drift", "episodes", MODEL).out
    assert one["id"] in listed
    assert told(sluice, "episodes", "another")["episodes"] == []
    shown = sluice("drift", "episode", one["id"]).out
    assert f"{one['id']}, {MODEL}: labels" in shown
    assert "retrain: Errors rose" in shown
    assert f"/api/v1/drift/episodes/{one['id']}/window.parquet" in " ".join(shown.split())
    done = sluice("drift", "approve", one["id"], "--why", "so it is")
    assert "The webhooks were told to retrain" in done.out
    refused = sluice("drift", "approve", one["id"])
    assert refused.code == 1
    assert "waits for an approval" in refused.err


def test_operators_say_their_word(sluice: Command, room: RollingRoom) -> None:
    """An episode is acknowledged, an episode or a model silenced, for a time that is said."""
    labels_show_harm(room)
    (one,) = until(lambda: told(sluice, "episodes")["episodes"], "an episode")
    mine = sluice("drift", "acknowledge", one["id"], "--why", "the migration")
    assert "has it in hand" in mine.out
    assert "acknowledged by" in sluice("drift", "episode", one["id"]).out
    assert told(sluice, "acknowledge", one["id"], "--undo")["acknowledged"] is None
    assert "Silent until" in sluice("drift", "silence", one["id"], "--for", "2h").out
    assert told(sluice, "silence", one["id"], "--undo")["silenced"] is None
    assert f"{MODEL} is silent until" in sluice("drift", "silence", MODEL, "--for", "2h", "--why", "known").out
    assert f"{MODEL} is silent until" in sluice("drift", "episodes").out
    assert "because known" in " ".join(sluice("drift", "episodes").out.split())
    assert f"{MODEL} is no longer silent" in sluice("drift", "silence", MODEL, "--undo").out
    assert told(sluice, "episodes")["silences"] == {}


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["silence", MODEL], 2, "--for"),
        (["silence", MODEL, "--for", "2h", "--undo"], 2, "--for"),
        (["silence", MODEL, "--for", "a while"], 2, "is no time"),
        (["silence", MODEL, "--for", "0s"], 2, "no silence"),
        (["silence", MODEL, "--for", "60d"], 1, "for_s"),
        (["silence", "nobody", "--for", "2h"], 1, "nobody"),
        (["episode", "ep_1"], 1, "There is no episode 'ep_1'"),
        (["approve", "ep_0123456789abcdef"], 1, "There is no episode"),
    ],
)
def test_what_cannot_be_is_told(
    sluice: Command, room: RollingRoom, words: list[str], code: int, sentence: str
) -> None:  # fmt: skip
    """With the exit code of what it is: wrong usage, or refused."""
    del room
    refused = sluice("drift", *words)
    assert refused.code == code
    assert sentence in " ".join(refused.err.split())
