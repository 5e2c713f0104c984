"""`sluice stop`, with a real Valkey and nothing else: no control API, no conductor, no gateway."""

from __future__ import annotations

import asyncio
import getpass
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from router.policy import Arm, Policy
from serving.control.store import Store, connect
from serving.control.valkey import EmbeddedValkey, kept_url
from tests.serving.fake_rollouts import FakeRollouts, serving
from tests.serving.test_cli import Command, sluice

__all__ = ["sluice"]

SPLIT = Policy(stable=1, arms=(Arm(2, 250_000, 0),))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of an installation of which only the embedded Valkey is left."""
    folder = tmp_path_factory.mktemp("installation")
    server = EmbeddedValkey(folder / "valkey")
    server.start()
    try:
        yield folder
    finally:
        server.stop()


@pytest.fixture
def namespace(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Keys of this test's own, which the settings here name."""
    name = f"test-{secrets.token_hex(6)}"
    monkeypatch.chdir(tmp_path)
    for variable in ("SLUICE_URL", "SLUICE_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    Path("sluice.yaml").write_text(f"state_dir: {state}\nredis: {{namespace: {name}}}\n")
    return name


@asynccontextmanager
async def store(state: Path, namespace: str) -> AsyncIterator[Store]:
    """The store that the command writes to."""
    url = kept_url(state / "valkey")
    assert url is not None
    there = connect(url, namespace)
    try:
        yield there
    finally:
        await there.close()


def split(state: Path, namespace: str, *models: str) -> None:
    """These models get a split."""

    async def publish() -> None:
        async with store(state, namespace) as there:
            for model in models:
                await there.change(model, SPLIT, 0, who="the test")

    asyncio.run(publish())


def policy_of(state: Path, namespace: str, model: str) -> Policy:
    """What the model runs."""

    async def read() -> Policy:
        async with store(state, namespace) as there:
            entry = (await there.state()).snapshot.models[model]
            return await there.policy(entry.digest)

    return asyncio.run(read())


def test_the_address_of_a_server_is_kept_with_its_data(state: Path, tmp_path: Path) -> None:
    """Nobody has to hold the server to find it; where none ever ran, or half a file is left, there is none."""
    password = (state / "valkey" / "password").read_text().strip()
    found = kept_url(state / "valkey")
    assert found is not None
    assert found.startswith(f"redis://:{password}@127.0.0.1:")
    assert kept_url(tmp_path) is None
    for text in ("", "port 1\n", "requirepass x\n", "\xff"):
        (tmp_path / "valkey.conf").write_text(text, encoding="latin-1")
        assert kept_url(tmp_path) is None


def test_stop_needs_nothing_but_redis(sluice: Command, state: Path, namespace: str) -> None:
    """All traffic of the one model is stable's, its arms keep their places, and others are left alone."""
    split(state, namespace, "digits", "other")
    ran = sluice("stop", "digits", "--why", "wrong answers")
    assert (ran.code, ran.err) == (0, "")
    assert "all traffic to stable, and frozen: digits" in ran.out
    assert "sluice stop --undo digits" in ran.out
    assert policy_of(state, namespace, "digits").shares() == {1: 1_000_000, 2: 0}
    assert policy_of(state, namespace, "other") == SPLIT


def test_a_stop_is_in_the_ledger_with_whoever_typed_it(sluice: Command, state: Path, namespace: str) -> None:
    """No API was there to say who it is, so the machine's account is named."""
    split(state, namespace, "digits")
    assert sluice("stop", "digits", "--why", "wrong answers").code == 0

    async def newest() -> tuple[str, str, str]:
        async with store(state, namespace) as there:
            [one, *_] = await there.ledger(1)
            return one.entry.kind, one.entry.who, one.entry.why

    kind, who, why = asyncio.run(newest())
    assert (kind, why) == ("stop", "wrong answers")
    assert who.startswith(f"{getpass.getuser()} at ")


def test_everything_is_stopped_at_once_and_let_go_again(sluice: Command, state: Path, namespace: str) -> None:
    """--all is one epoch; taking it back moves no traffic; a stop twice is one."""
    split(state, namespace, "a", "b")
    answer = json.loads(sluice("stop", "--all", "--json").out)
    assert (answer["stopped"], answer["rolled_back"], answer["epoch"]) == (["a", "b"], [], 3)
    assert answer["acknowledged"]["of"] == 0
    again = json.loads(sluice("stop", "--all", "--json").out)
    assert (again["stopped"], again["epoch"]) == (["a", "b"], None)
    refused = sluice("stop", "--undo", "a")
    assert (refused.code, "sluice stop --undo --all" in refused.err) == (1, True)
    assert sluice("stop", "--undo", "--all").out == "may move again: everything\n"
    assert sluice("stop", "--undo", "--all").out == "nothing was stopped\n"
    assert policy_of(state, namespace, "a").shares() == {1: 1_000_000, 2: 0}


def test_a_model_that_is_not_there_is_a_sentence(sluice: Command, namespace: str) -> None:
    """Exit code 1, and nothing is stopped."""
    ran = sluice("stop", "nobody")
    assert (ran.code, "no model 'nobody'" in ran.err) == (1, True)
    assert sluice("stop", "--undo", "--all").out == "nothing was stopped\n"


def test_an_installation_without_models_can_be_stopped(sluice: Command, namespace: str) -> None:
    """Whatever comes later is frozen then."""
    assert "there is no model yet" in sluice("stop", "--all").out
    assert json.loads(sluice("stop", "--undo", "--all", "--json").out) == {"unstopped": ["*"]}


@pytest.mark.parametrize("words", [["stop"], ["stop", "digits", "--all"], ["stop", "--undo"]])
def test_what_is_to_be_stopped_is_said(sluice: Command, namespace: str, words: list[str]) -> None:
    """One model or all: a slip must not be either."""
    ran = sluice(*words)
    assert (ran.code, "name one model, or give --all" in ran.err) == (2, True)


def test_where_no_redis_is_known_it_says_what_to_name(sluice: Command, tmp_path: Path, namespace: str) -> None:
    """Settings, state folder or API; the state folder can be typed."""
    Path("sluice.yaml").write_text("state_dir: elsewhere\n")
    ran = sluice("stop", "--all")
    assert ran.code == 1
    assert all(word in ran.err for word in ("redis.url", "elsewhere", "--config", "--state-dir", "--url"))
    Path("sluice.yaml").unlink()


def test_the_state_folder_can_be_typed(sluice: Command, state: Path, namespace: str) -> None:
    """Where the settings file is lost as well, the folder is enough."""
    Path("sluice.yaml").write_text(f"redis: {{namespace: {namespace}}}\n")
    assert sluice("stop", "--all", "--state-dir", str(state)).code == 0


def test_a_redis_that_is_away_is_a_sentence_without_its_password(
    sluice: Command, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1; what is in the address stays there."""
    monkeypatch.setenv("SLUICE_REDIS__URL", "redis://:hunter2@127.0.0.1:9/0")
    ran = sluice("stop", "--all")
    assert (ran.code, ran.out) == (1, "")
    assert "error:" in ran.err
    assert "hunter2" not in ran.err


def test_an_api_that_is_named_is_asked_instead(sluice: Command, namespace: str) -> None:
    """For whoever can reach the API and not Redis."""
    api = FakeRollouts()
    with serving(api) as address:
        ran = sluice("stop", "digits", "--url", address, "--why", "w")
        assert ran.code == 0, ran.err
        assert "rolled back: ro_0123456789ab" in ran.out
        assert "2 of 2 gateway workers run epoch 10 (4 ms)" in ran.out
        assert sluice("stop", "--all", "--url", address).code == 0
        assert sluice("stop", "digits", "--undo", "--url", address).out == "may move again: digits\n"
        assert sluice("stop", "--all", "--undo", "--url", address).code == 0
    paths = ["models/digits/stop", "stop", "models/digits/unstop", "unstop"]
    assert api.lines() == [f"POST /api/v1/{path}" for path in paths]
    assert api.asked[0].body == {"why": "w"}
