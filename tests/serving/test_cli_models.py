"""`sluice models` and `sluice operations`, against the real API in a process of its own with a real Valkey."""

from __future__ import annotations

import json
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.control.valkey import EmbeddedValkey
from tests.serving.control.room_processes import room_process
from tests.serving.control.workshops import NARROW, SIGNATURE
from tests.serving.test_cli import Command, sluice
from tests.valkey import valkey

__all__ = ["sluice", "valkey"]


@pytest.fixture
def here(valkey: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of sources of an empty registry, which is also where the command is typed."""
    with room_process(valkey.url, f"test-{secrets.token_hex(6)}", tmp_path) as address:
        monkeypatch.setenv("SLUICE_URL", address)
        monkeypatch.delenv("SLUICE_CONFIG", raising=False)
        monkeypatch.chdir(tmp_path / "sources")
        yield tmp_path / "sources"


def artifact(here: Path, name: str, signature: object = SIGNATURE) -> None:
    """Something to register."""
    (here / name).mkdir()
    (here / name / "model.pt2").write_bytes(name.encode())
    (here / name / "signature.json").write_text(json.dumps(signature))


def test_a_version_is_registered_shown_named_and_put_away(sluice: Command, here: Path) -> None:
    """From a folder to an alias and to the archive, each step saying what came of it."""
    artifact(here, "one")
    ran = sluice(
        "models", "register", "digits", "one", "--metric", "accuracy=0.5", "--param", "epochs=15", "--tag", "a=b"
    )
    assert (ran.code, ran.out) == (0, ran.out), ran.err
    assert ran.out.startswith("register of digits: version 1, created yes, kind torch-export, ")
    assert "trying it on a server of its own …" in ran.err
    assert "verified" in sluice("models", "list", "digits").out
    assert sluice("models", "alias", "digits", "production", "1").out == "production of digits is version 1\n"
    shown = sluice("models", "show", "digits", "production").out
    for words in ("production", "torch-export", "accuracy=0.5", "epochs=15", "a=b", "pixels", "[64]"):
        assert words in shown
    assert "production: 1" in sluice("models", "list").out
    refused = sluice("models", "archive", "digits", "1")
    assert (refused.code, refused.out) == (1, "")
    assert "The alias production points at it." in refused.err
    assert sluice("models", "alias", "digits", "production", "--remove").code == 0
    assert sluice("models", "archive", "digits", "1", "--why", "old").out == "digits version 1 is archived\n"
    assert sluice("models", "restore", "digits", "1").out == "digits version 1 is registered\n"
    assert sluice("models", "verify", "digits", "1").code == 0
    assert sluice("models", "archive", "digits", "1").code == 0
    assert sluice("models", "delete", "digits", "1").out == "digits version 1 is gone\n"
    assert "no version 1" in sluice("models", "show", "digits", "1").err


def test_two_versions_are_compared(sluice: Command, here: Path) -> None:
    """What differs, by how much, and what stands in the way."""
    artifact(here, "one")
    artifact(here, "two", NARROW)
    assert sluice("models", "register", "digits", "one", "--metric", "accuracy=0.5").code == 0
    assert sluice("models", "register", "digits", "two", "--metric", "accuracy=0.75", "--parent", "1").code == 0
    out = sluice("models", "diff", "digits", "1", "2").out
    assert "+0.25" in out
    assert "cannot serve the clients of version 1" in out
    refused = sluice("models", "register", "digits", "two", "--number", "9", "--serves", "1")
    assert (refused.code, "cannot serve the clients" in refused.err) == (1, True)
    assert sluice("models", "register", "digits", "two", "--number", "9", "--serves", "1", "--force").code == 0
    assert "are made of the same" in sluice("models", "diff", "digits", "9", "9").out


def test_every_reading_command_prints_json_alone(sluice: Command, here: Path) -> None:
    """The API's own answer."""
    artifact(here, "one")
    done = json.loads(sluice("models", "register", "digits", "one", "--json").out)
    assert (done["state"], done["result"]["version"]) == ("done", 1)
    for words, key in (
        (["models", "list"], "models"),
        (["models", "list", "digits"], "versions"),
        (["models", "show", "digits", "1"], "signature"),
        (["models", "diff", "digits", "1", "1"], "differs"),
        (["operations", "list"], "operations"),
        (["operations", "show", done["id"]], "steps"),
    ):
        ran = sluice(*words, "--json")
        assert (ran.code, ran.err) == (0, "")
        assert key in json.loads(ran.out)


def test_the_configuration_is_printed_alone(sluice: Command, here: Path) -> None:
    """As Triton reads it."""
    artifact(here, "one")
    sluice("models", "register", "digits", "one")
    ran = sluice("models", "show", "digits", "1", "--config-pbtxt")
    assert (ran.code, 'name: "digits"' in ran.out) == (0, True)


def test_work_that_goes_on_is_found_again(sluice: Command, here: Path) -> None:
    """--no-wait says how; its record says what it did; cancelling what has ended is harmless."""
    artifact(here, "one")
    ran = sluice("models", "register", "digits", "one", "--no-wait")
    found = re.search(r"sluice operations show (\w+)", ran.out)
    assert found, ran.out
    for _ in range(200):
        shown = sluice("operations", "show", found[1]).out
        if "done" in shown:
            break
        time.sleep(0.05)
    assert "register of digits: done" in shown
    assert "version 1" in shown
    assert found[1] in sluice("operations", "list", "digits").out
    assert sluice("operations", "cancel", found[1]).code == 0
    assert sluice("operations", "show", "none").err.startswith("error: There is no operation 'none'.")


def test_ctrl_c_ends_the_waiting_and_not_the_work(here: Path) -> None:
    """Exit code 1, and the sentence says where to look; the version is there all the same."""
    artifact(here, "slow")
    closed = here.parent / "scratch" / "closed"
    closed.touch()
    # Whoever starts the tests may have told its children to be deaf to Ctrl-C.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listening}; from serving.cli import main; main()"
    command = [sys.executable, "-c", code, "models", "register", "digits", "slow"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "the model loads" in line:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    found = re.search(r"sluice operations show (\w+)", said)
    assert found, said
    closed.unlink()
    shown = subprocess.run(
        [sys.executable, "-m", "serving.cli", "operations", "show", found[1]],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert "register of digits" in shown.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["register", "digits", "one", "--metric", "accuracy"], "NAME=VALUE"),
        (["register", "digits", "one", "--metric", "accuracy=high"], "no number"),
        (["register", "digits", "one", "--metric", "a=1", "--metric", "a=2"], "names a twice"),
        (["register", "digits", "one", "--signature", "none.json"], "none.json cannot be read"),
        (["register", "digits", "one", "--data-rows", "1"], "go together"),
        (["register", "digits", "one", "--number", "0"], "greater than or equal to 1"),
        (["alias", "digits", "production"], "--remove"),
        (["alias", "digits", "production", "1", "--remove"], "--remove"),
        (["import", "s3://x"], "mlflow:/NAME/VERSION"),
        (["archive", "digits", "production"], "VERSION"),
        (["deploy", "digits", "1", "--option", "replicas"], "NAME=VALUE"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_nobody_is_asked(
    sluice: Command, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    """With a sentence; there is no API at that address."""
    monkeypatch.setenv("SLUICE_URL", "http://127.0.0.1:9")
    ran = sluice("models", *words)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err


def test_what_is_refused_is_a_sentence_and_exit_code_1(sluice: Command, here: Path) -> None:
    """The API's own words, and its hint."""
    ran = sluice("models", "register", "digits", "/etc")
    assert ran.code == 1
    assert "not admitted" in ran.err
    assert "hint: Put it below one of them" in ran.err
    assert sluice("models", "list", "digits").code == 1
    assert "s3://bucket/x" in sluice("models", "register", "digits", "s3://bucket/x").err
