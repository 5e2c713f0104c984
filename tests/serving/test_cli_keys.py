"""`sluice keys` against the real API with its door: what is printed and asked for, and that secrets stay secret."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import typer
import uvicorn
from pydantic import BaseModel

from serving.access.keys import Shown, create, parse
from serving.commands.common import _url_here
from serving.commands.given import size
from serving.control import keys_client
from serving.control.api import create_app
from serving.control.api import keys as api_keys
from serving.control.api.gate import Door
from serving.control.doorman import Doorman
from serving.control.fake_store import FakeStore
from serving.control.keys import KeyService
from serving.control.service import ControlService
from serving.leases import GatewayLease
from serving.settings import load_settings
from tests.serving.certificates import Authority
from tests.serving.test_cli import Command, Ran, sluice

__all__ = ["sluice"]

LEASE = GatewayLease("g1", "b", 1, "h", 8000, 0, "")


@dataclass
class Room:
    """A control API that asks for keys, on a port of its own."""

    store: FakeStore
    url: str
    admin: Shown


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Room]:
    """One key administers; SLUICE_KEY_FILE names the file that holds it."""
    monkeypatch.chdir(tmp_path)
    for name in ("SLUICE_CONFIG", "SLUICE_KEY", "SLUICE_CA_FILE", "SLUICE_INSECURE"):
        monkeypatch.delenv(name, raising=False)
    store, admin = FakeStore(), create()
    keys, doorman = KeyService(store), Doorman(store, required=True)
    asyncio.run(keys.settle_admin_key(admin))
    asyncio.run(doorman.look())
    app = create_app(ControlService(store), door=Door(doorman), key_service=keys)
    with serving(uvicorn.Config(app, log_config=None, lifespan="off")) as port:
        url = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("SLUICE_URL", url)
        monkeypatch.setenv("SLUICE_KEY_FILE", str(written(tmp_path / "admin.key", admin.text)))
        yield Room(store, url, admin)


@contextmanager
def serving(config: uvicorn.Config) -> Iterator[int]:
    """The port of a server of this application on a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    """A file of that mode."""
    path.write_text(text + "\n")
    path.chmod(mode)
    return path


def made(ran: Ran) -> Shown:
    """The key that was printed, alone."""
    shown = parse(ran.out.removesuffix("\n"))
    assert ran.code == 0, ran.err
    assert shown is not None
    return shown


def test_a_new_key_is_printed_alone(sluice: Command, room: Room) -> None:
    """What a script takes from stdout is the key; that it is shown once is said beside it, and --quiet says nothing."""
    ran = sluice("keys", "create", "web-shop", "--role", "predict", "--model", "digits", "--expires", "90d")
    shown = made(ran)
    assert f"key web-shop ({shown.id}) may predict until " in ran.err
    assert "shown this once" in ran.err
    assert shown.secret not in ran.err
    quiet = sluice("keys", "create", "other", "--role", "predict", "-q")
    assert made(quiet).id != shown.id
    assert quiet.err == ""


def test_limits_are_written_as_people_write_them(sluice: Command, room: Room) -> None:
    """Sizes with units, rates with fractions; --json prints the record with the key."""
    ran = sluice(
        *("keys", "create", "shop", "--role", "predict", "--rate", "2.5", "--burst", "10"),
        *("--in-flight", "3", "--max-body", "1.5MiB", "--json"),
    )
    answer = json.loads(ran.out)
    assert answer["limits"] == {"rate_per_s": 2.5, "burst": 10, "in_flight": 3, "max_body": 1_572_864}
    assert parse(answer["key"]) is not None
    assert ran.err == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("keys", "create", "shop"), "--role"),
        (("keys", "create", "shop", "--role", "root"), "root"),
        (("keys", "create", "shop", "--role", "predict", "--max-body", "big"), "is no size"),
        (("keys", "create", "shop", "--role", "predict", "--max-body", "0.5b"), "is no size"),
        (("keys", "create", "shop", "--role", "predict", "--burst", "0"), "--burst"),
        (("keys", "revoke", "web-shop"), "is no id of a key"),
    ],
)
def test_wrong_usage_asks_nobody(sluice: Command, room: Room, words: tuple[str, ...], said: str) -> None:
    """Exit code 2, and a line that says what is wrong."""
    ran = sluice(*words)
    assert ran.code == 2
    assert said in re.sub(r"\s*│\s*", " ", ran.err)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--role", "operate", "--model", "digits"), "not limited to models"),
        (("--role", "predict", "--expires", "yesterday"), "no time at which"),
        (("--role", "predict", "--burst", "5"), "a burst goes with a rate"),
    ],
)
def test_what_the_api_refuses_is_a_sentence(sluice: Command, room: Room, words: tuple[str, ...], said: str) -> None:
    """Exit code 1, with what to do."""
    ran = sluice("keys", "create", "shop", *words)
    assert (ran.code, ran.out) == (1, "")
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_name_that_is_taken_says_by_whom(sluice: Command, room: Room) -> None:
    """With the id of the key that has it."""
    shown = made(sluice("keys", "create", "shop", "--role", "predict"))
    ran = sluice("keys", "create", "shop", "--role", "predict")
    assert (ran.code, shown.id in ran.err, "hint:" in ran.err) == (1, True, True)


def test_the_list_shows_everything_but_secrets(sluice: Command, room: Room) -> None:
    """Revoked ones with --all only; a digest nowhere, not even with --json."""
    kept = made(sluice("keys", "create", "shop", "--role", "predict", "--model", "digits", "--rate", "5"))
    gone = made(sluice("keys", "create", "old", "--role", "operate"))
    assert sluice("keys", "revoke", gone.id).code == 0
    shown, every = sluice("keys", "list"), sluice("keys", "list", "--all")
    for words in (kept.id, "shop", "predict", "digits", "5/s", "in force"):
        assert words in shown.out
    assert gone.id not in shown.out
    assert gone.id in every.out
    listed = sluice("keys", "list", "--all", "--json")
    assert {one["id"]: one["state"] for one in json.loads(listed.out)["keys"]}[gone.id] == "revoked"
    for ran in (shown, every, listed):
        for key in (kept, gone, room.admin):
            assert key.secret not in ran.out + ran.err
            assert key.digest not in ran.out + ran.err


def test_a_revoked_key_is_refused(sluice: Command, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens the API until then, and the sentence says which variable holds it."""
    shown = made(sluice("keys", "create", "ada", "--role", "operate"))
    monkeypatch.setenv("SLUICE_KEY", shown.text)
    assert f"key ada ({shown.id}) may operate" in sluice("keys", "whoami").out
    refused = sluice("keys", "list")
    assert refused.code == 1
    assert "needs the role administer" in refused.err
    assert "SLUICE_KEY" in refused.err
    monkeypatch.setenv("SLUICE_KEY", room.admin.text)
    assert f"key ada ({shown.id}) is revoked; 0 of 0 gateway workers know" in sluice("keys", "revoke", shown.id).out
    monkeypatch.setenv("SLUICE_KEY", shown.text)
    ran = sluice("status")
    assert (ran.code, "taken back" in ran.err, "hint: SLUICE_KEY is not accepted" in ran.err) == (1, True, True)
    assert shown.secret not in ran.err


def test_a_whole_key_may_be_named_to_revoke_it(sluice: Command, room: Room, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever finds one somewhere has nothing else; its secret is sent nowhere."""
    caplog.set_level(logging.DEBUG)
    shown = made(sluice("keys", "create", "ada", "--role", "operate"))
    ran = sluice("keys", "revoke", shown.text)
    assert (ran.code, shown.secret in ran.out + ran.err + caplog.text) == (0, False)


def test_gateways_that_do_not_know_are_named(sluice: Command, room: Room) -> None:
    """The key is revoked, and the exit code says that somebody still takes it."""
    shown = made(sluice("keys", "create", "ada", "--role", "operate"))
    room.store.gateway_says(LEASE, 600)
    ran = sluice("keys", "revoke", shown.id, "--wait-s", "0")
    assert ran.code == 1
    assert "0 of 1 gateway workers know" in ran.out
    assert "g1 has not said yet" in ran.err
    room.store.gateway_says(replace(LEASE, access=99), 600)
    assert "1 of 1 gateway workers know" in sluice("keys", "revoke", shown.id).out


def test_the_last_key_that_administers_needs_insistence(sluice: Command, room: Room) -> None:
    """Nobody could let anybody in any more."""
    ran = sluice("keys", "revoke", room.admin.id)
    assert (ran.code, "--force" in ran.err) == (1, True)
    assert sluice("keys", "revoke", room.admin.id, "--force").code == 0


def test_without_a_key_the_hint_names_the_variables(
    sluice: Command, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 401 is a sentence, whatever the command."""
    monkeypatch.delenv("SLUICE_KEY_FILE")
    for words in (("status",), ("keys", "list"), ("models", "list")):
        ran = sluice(*words)
        assert (ran.code, ran.out) == (1, "")
        assert "SLUICE_KEY_FILE" in ran.err
        assert "SLUICE_KEY" in ran.err


def test_a_file_that_others_may_read_is_told(sluice: Command, room: Room) -> None:
    """The command works all the same."""
    Path("admin.key").chmod(0o644)
    ran = sluice("keys", "list")
    assert ran.code == 0
    assert "warning: others on this machine may read the key in " in ran.err
    assert "chmod 600" in ran.err


@pytest.mark.parametrize("text", ["", "two words", "b\u00e4d", "x" * 9_000])
def test_a_file_that_holds_no_key_is_told_without_what_it_holds(
    sluice: Command, room: Room, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    """It may be another secret."""
    monkeypatch.setenv("SLUICE_KEY_FILE", str(written(tmp_path / "other", text)))
    ran = sluice("status")
    assert ran.code == 1
    assert "SLUICE_KEY_FILE" in ran.err
    assert not text or text not in ran.err


def test_a_file_that_is_not_there_is_told(sluice: Command, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its name."""
    monkeypatch.setenv("SLUICE_KEY_FILE", "/nowhere/key")
    ran = sluice("status")
    assert (ran.code, "/nowhere/key" in ran.err) == (1, True)


def test_a_key_does_not_go_over_plain_http_to_another_machine(
    sluice: Command, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is sent; whoever insists may."""
    monkeypatch.setenv("SLUICE_URL", "http://192.0.2.1:8080")
    ran = sluice("status")
    assert ran.code == 1
    assert "as plain text" in ran.err
    assert "SLUICE_INSECURE=1" in ran.err
    monkeypatch.setenv("SLUICE_INSECURE", "1")
    monkeypatch.setenv("SLUICE_URL", room.url.replace("127.0.0.1", "localhost"))
    assert sluice("keys", "list").code == 0


def test_an_encrypted_api_that_runs_here_is_found_and_trusted(
    sluice: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By what its folder says of it: the address in run.json, the certificate in the settings, whatever its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLUICE_URL", raising=False)
    monkeypatch.setenv("SLUICE_KEY", create().text)
    files = Authority(tmp_path).issue("sluice.example")
    Path("sluice.yaml").write_text(f"tls:\n  certificate: {files.certificate}\n  key: {files.key}\n")
    app = create_app(ControlService(FakeStore()))
    config = uvicorn.Config(
        app, log_config=None, lifespan="off", ssl_certfile=files.certificate, ssl_keyfile=files.key
    )  # fmt: skip
    with serving(config) as port:
        Path(".sluice").mkdir()
        Path(".sluice/run.json").write_text(json.dumps({"control_url": f"https://127.0.0.1:{port}"}))
        wrong = sluice("status")
        monkeypatch.delenv("SLUICE_KEY")
        assert sluice("keys", "whoami").out == "anonymous may administer\n"
    assert (wrong.code, "SLUICE_KEY is not accepted" in wrong.err) == (1, True)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ("", "http://127.0.0.1:8080"),
        ("control: {host: '::1', port: 1}", "http://[::1]:1"),
        ("access: {required: true}\ncontrol: {host: 0.0.0.0, port: 2}", "http://127.0.0.1:2"),
        ("access: {required: true}\ncontrol: {host: '::', port: 3}", "http://[::1]:3"),
        ("tls: {certificate: c.pem, key: c.key}\ncontrol: {port: 4}", "https://127.0.0.1:4"),
    ],
)
def test_where_nothing_runs_the_settings_say_where_it_would(tmp_path: Path, lines: str, address: str) -> None:
    """As this machine reaches it, encrypted where there is a certificate."""
    file = tmp_path / "sluice.yaml"
    file.write_text(lines)
    assert _url_here(load_settings(file)) == address


@pytest.mark.parametrize(
    ("text", "count"),
    [
        *(("1", 1), ("65536", 65_536), ("1kB", 1_000), ("1KB", 1_000), ("1k", 1_000), ("64KiB", 65_536)),
        *((" 1 MB ", 1_000_000), ("1.5mb", 1_500_000), ("2Gi", 2**31), ("1TB", 10**12), ("10b", 10)),
    ],
)
def test_a_size_is_written_as_people_write_it(text: str, count: int) -> None:
    """MB is a million bytes, MiB is 1,048,576."""
    assert size("--max-body", text) == count


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "0.5kb1", "1 EB", "MB", "1e6", "nan", "1\u0661"])
def test_what_is_no_size_is_wrong_usage(text: str) -> None:
    """With the option's name."""
    with pytest.raises(typer.BadParameter, match="--max-body"):
        size("--max-body", text)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (keys_client.KeyRow, api_keys.KeyOut),
        (keys_client.KeysAnswer, api_keys.KeysOut),
        (keys_client.MadeAnswer, api_keys.MadeOut),
        (keys_client.RevokedAnswer, api_keys.RevokedOut),
        (keys_client.WhoAnswer, api_keys.WhoOut),
        (keys_client.LimitsRow, api_keys.LimitsOut),
    ],
)
def test_client_and_api_mean_the_same_keys(ours: Any, theirs: type[BaseModel]) -> None:  # noqa: ANN401
    """Every field, neither more nor less."""
    assert set(ours.__annotations__) == set(theirs.model_fields)


def test_a_key_for_the_settings_needs_nobody(sluice: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what access.admin_key takes, and another one each time."""
    monkeypatch.setenv("SLUICE_URL", "http://127.0.0.1:9")
    first, second = made(sluice("keys", "generate")), made(sluice("keys", "generate", "--quiet"))
    assert first != second


def test_nothing_secret_reaches_a_log_or_the_ledger(
    sluice: Command, room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is done with a key, by whatever way."""
    caplog.set_level(logging.DEBUG)
    shown = made(sluice("keys", "create", "ada", "--role", "operate"))
    outputs = [
        sluice("keys", "create", shown.text, "--role", "operate"),
        sluice("keys", "create", "x", "--role", "predict", "--model", shown.text),
        sluice("keys", "create", "y", "--role", "predict", "--expires", shown.text),
        sluice("keys", "revoke", shown.id, "--why", f"found {shown.text}"),
        sluice("keys", "revoke", shown.id, "--why", "it leaked"),
        sluice("keys", "list", "--all", "--json"),
    ]
    ledger = asyncio.run(room.store.ledger(100))
    assert {one.entry.facts["what"] for one in ledger} == {"set", "created", "revoked"}
    everything = "".join((caplog.text, repr(ledger), *(ran.out + ran.err for ran in outputs)))
    for key in (shown, room.admin):
        assert key.secret not in everything
        assert key.digest not in everything
