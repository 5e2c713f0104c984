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


@pytest.fixture(scope="module")
def room(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of an API, and the folder of its installation."""
    folder = tmp_path_factory.mktemp("room")
    with room_process(valkey.url, f"test-{secrets.token_hex(6)}", folder) as address:
        yield address, folder


@pytest.fixture
def here(room: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sources, which is also where the command is typed."""
    address, folder = room
    monkeypatch.setenv("SLUICE_URL", address)
    monkeypatch.delenv("SLUICE_CONFIG", raising=False)
    sources = folder / "sources" / secrets.token_hex(4)
    sources.mkdir()
    monkeypatch.chdir(sources)
    return sources


@pytest.fixture
def model() -> str:
    """A model that nobody has registered anything of."""
    return f"model-{secrets.token_hex(4)}"


def artifact(here: Path, name: str, signature: object = SIGNATURE) -> None:
    """Something to register."""
    (here / name).mkdir()
    (here / name / "model.pt2").write_bytes(name.encode())
    (here / name / "signature.json").write_text(json.dumps(signature))


def test_a_version_is_registered_shown_named_and_put_away(sluice: Command, here: Path, model: str) -> None:
    """From a folder to an alias and to the archive, each step saying what came of it."""
    artifact(here, "one")
    ran = sluice("models", "register", model, "one", "--metric", "accuracy=0.5", "--param", "epochs=15", "--tag", "a=b")
    assert (ran.code, ran.out) == (0, ran.out), ran.err
    assert ran.out.startswith(f"register of {model}: version 1, created yes, kind torch-export, ")
    assert "trying it on a server of its own …" in ran.err
    assert "verified" in sluice("models", "list", model).out
    assert sluice("models", "alias", model, "production", "1").out == f"production of {model} is version 1\n"
    shown = sluice("models", "show", model, "production").out
    for words in ("production", "torch-export", "accuracy=0.5", "epochs=15", "a=b", "pixels", "[64]"):
        assert words in shown
    assert "production: 1" in sluice("models", "list").out
    refused = sluice("models", "archive", model, "1")
    assert (refused.code, refused.out) == (1, "")
    assert "The alias production points at it." in refused.err
    assert sluice("models", "alias", model, "production", "--remove").code == 0
    assert sluice("models", "archive", model, "1", "--why", "old").out == f"{model} version 1 is archived\n"
    assert sluice("models", "restore", model, "1").out == f"{model} version 1 is registered\n"
    assert sluice("models", "verify", model, "1").code == 0
    assert sluice("models", "archive", model, "1").code == 0
    assert sluice("models", "delete", model, "1").out == f"{model} version 1 is gone\n"
    assert "no version 1" in sluice("models", "show", model, "1").err


def test_two_versions_are_compared(sluice: Command, here: Path, model: str) -> None:
    """What differs, by how much, and what stands in the way."""
    artifact(here, "one")
    artifact(here, "two", NARROW)
    assert sluice("models", "register", model, "one", "--metric", "accuracy=0.5").code == 0
    assert sluice("models", "register", model, "two", "--metric", "accuracy=0.75", "--parent", "1").code == 0
    out = sluice("models", "diff", model, "1", "2").out
    assert "+0.25" in out
    assert "cannot serve the clients of version 1" in out
    refused = sluice("models", "register", model, "two", "--number", "9", "--serves", "1")
    assert (refused.code, "cannot serve the clients" in refused.err) == (1, True)
    assert sluice("models", "register", model, "two", "--number", "9", "--serves", "1", "--force").code == 0
    assert "are made of the same" in sluice("models", "diff", model, "9", "9").out


def test_every_reading_command_prints_json_alone(sluice: Command, here: Path, model: str) -> None:
    """The API's own answer."""
    artifact(here, "one")
    done = json.loads(sluice("models", "register", model, "one", "--json").out)
    assert (done["state"], done["result"]["version"]) == ("done", 1)
    for words, key in (
        (["models", "list"], "models"),
        (["models", "list", model], "versions"),
        (["models", "show", model, "1"], "signature"),
        (["models", "diff", model, "1", "1"], "differs"),
        (["operations", "list"], "operations"),
        (["operations", "show", done["id"]], "steps"),
    ):
        ran = sluice(*words, "--json")
        assert (ran.code, ran.err) == (0, "")
        assert key in json.loads(ran.out)


def test_the_configuration_is_printed_alone(sluice: Command, here: Path, model: str) -> None:
    """As Triton reads it."""
    artifact(here, "one")
    sluice("models", "register", model, "one")
    ran = sluice("models", "show", model, "1", "--config-pbtxt")
    assert (ran.code, f'name: "{model}"' in ran.out) == (0, True)


def test_work_that_goes_on_is_found_again(sluice: Command, here: Path, model: str) -> None:
    """--no-wait says how; its record says what it did; cancelling what has ended is harmless."""
    artifact(here, "one")
    ran = sluice("models", "register", model, "one", "--no-wait")
    found = re.search(r"sluice operations show (\w+)", ran.out)
    assert found, ran.out
    for _ in range(200):
        shown = sluice("operations", "show", found[1]).out
        if "done" in shown:
            break
        time.sleep(0.05)
    assert f"register of {model}: done" in shown
    assert "version 1" in shown
    assert found[1] in sluice("operations", "list", model).out
    assert sluice("operations", "cancel", found[1]).code == 0
    assert sluice("operations", "show", "none").err.startswith("error: There is no operation 'none'.")


def test_ctrl_c_ends_the_waiting_and_not_the_work(here: Path, model: str) -> None:
    """Exit code 1, and the sentence says where to look; the version is there all the same."""
    artifact(here, "slow")
    closed = here.parents[1] / "scratch" / "closed"
    closed.touch()
    # Whoever starts the tests may have told its children to be deaf to Ctrl-C.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listening}; from serving.cli import main; main()"
    command = [sys.executable, "-c", code, "models", "register", model, "slow"]
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
    assert f"register of {model}" in shown.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["register", "digits", "one", "--metric", "accuracy"], "NAME=VALUE"),
        (["register", "digits", "one", "--metric", "accuracy=high"], "no number"),
        (["register", "digits", "one", "--metric", "a=1", "--metric", "a=2"], "names a twice"),
        (["register", "digits", "one", "--signature", "none.json"], "none.json cannot be read"),
        (["register", "digits", "one", "--metric", "a=nan"], "no number"),
        (["register", "digits", "one", "--param", "a=NaN"], "NaN or an infinity"),
        (["register", "digits", "one", "--param", "a=-Infinity"], "NaN or an infinity"),
        (["register", "digits", "one", "--param", "a=1e999"], "NaN or an infinity"),
        (["register", "digits", "one", "--option", "x=Infinity"], "NaN or an infinity"),
        (["deploy", "digits", "1", "--option", "x=[NaN]"], "NaN or an infinity"),
        (["deploy", "digits", "1", "--option", 'x="\\ud800"'], "half a character"),
        (["register", "digits", "one", "--param", "a=\udc80"], "half a character"),
        (["register", "digits", "one", "--tag", "a=\udc80"], "half a character"),
        (["register", "digits", "one", "--metric", "\udc80=1"], "half a character"),
        (["register", "digits", "one\udc80"], "half a character"),
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


@pytest.mark.parametrize(
    ("holds", "says"), [('{"a": NaN}', "NaN"), ('{"a": -Infinity}', "NaN"), ('"\\ud800"', "half a character")]
)
@pytest.mark.parametrize("option", ["--signature", "--example"])
def test_a_file_of_what_json_may_not_hold_is_wrong_usage(
    sluice: Command, tmp_path: Path, option: str, holds: str, says: str
) -> None:
    """Exit code 2, with the file's name."""
    (tmp_path / "a.json").write_text(holds)
    ran = sluice("models", "register", "digits", "one", option, str(tmp_path / "a.json"), "--url", "http://127.0.0.1:9")
    assert (ran.code, ran.out) == (2, "")
    assert says in " ".join(ran.err.split())


def test_names_that_are_no_text_are_a_sentence(sluice: Command, here: Path) -> None:
    """Wherever they stand."""
    for words in (["show", "digits\udc80", "1"], ["alias", "digits", "x\udc80", "1"], ["list", "x\udc80"]):
        ran = sluice("models", *words)
        assert (ran.code, ran.out, "is no name" in ran.err) == (1, "", True), ran
    ran = sluice("models", "archive", "digits", "1", "--why", "\udc80")
    assert (ran.code, ran.out, "cannot be sent" in ran.err) == (1, "", True), ran


def test_a_digest_is_held_against_the_artifact(sluice: Command, here: Path, model: str) -> None:
    """Another one refuses it; that of the baseline is kept with the version."""
    artifact(here, "one")
    refused = sluice("models", "register", model, "one", "--expected-digest", "0" * 64)
    assert (refused.code, "0" * 64 in refused.err) == (1, True), refused
    ran = sluice("models", "register", model, "one", "--baseline-digest", "1" * 64, "--json")
    digest = json.loads(ran.out)["result"]["digest"]
    assert json.loads(sluice("models", "show", model, "1", "--json").out)["baseline_digest"] == "1" * 64
    assert "baseline" in sluice("models", "show", model, "1").out
    assert sluice("models", "register", model, "one", "--number", "2", "--expected-digest", digest).code == 0


def test_the_help_says_where_a_number_comes_from_and_what_config_is(sluice: Command) -> None:
    """An import keeps its own; --config is the settings file, --config-pbtxt what Triton is told."""
    assert "its number there" in " ".join(sluice("models", "import", "--help").out.replace("│", "").split())
    shown = " ".join(sluice("models", "show", "--help").out.replace("│", "").split())
    assert "with --config-pbtxt the configuration that it is served with" in shown


def test_what_is_refused_is_a_sentence_and_exit_code_1(sluice: Command, here: Path, model: str) -> None:
    """The API's own words, and its hint."""
    ran = sluice("models", "register", model, "/etc")
    assert ran.code == 1
    assert "not admitted" in ran.err
    assert "hint: Put it below one of them" in ran.err
    assert sluice("models", "list", model).code == 1
    assert "s3://bucket/x" in sluice("models", "register", model, "s3://bucket/x").err


def test_a_version_gets_servers_and_traffic_and_loses_them(sluice: Command, here: Path, model: str) -> None:
    """deploy, promote and remove, by number or by alias; what is in use stays."""
    for name in ("one", "two"):
        artifact(here, name)
        assert sluice("models", "register", model, name).code == 0
    sluice("models", "alias", model, "next", "2")
    ran = sluice("models", "deploy", model, "1", "--option", "replicas=2")
    assert (ran.code, "version 1, replicas 2" in ran.out) == (0, True), ran
    assert sluice("models", "promote", model, "1").code == 0
    assert "serving" in sluice("models", "show", model, "1").out
    refused = sluice("models", "remove", model, "1")
    assert (refused.code, "stable" in refused.err) == (1, True), refused
    assert sluice("models", "promote", model, "next", "--why", "it is better").code == 0
    assert "100 %" in sluice("traffic", "show", model).out
    refused = sluice("models", "deploy", model, "1", "--option", "replicas=many")
    assert (refused.code, "replicas" in refused.err) == (1, True), refused
    assert sluice("models", "deploy", model, "1").code == 0
    assert sluice("models", "remove", model, "1").code == 0
    assert "verified" in sluice("models", "show", model, "1").out


def test_a_trial_that_fails_is_told_in_the_servers_words(sluice: Command, here: Path, model: str) -> None:
    """Exit code 1, nothing on stdout, and no version afterwards."""
    artifact(here, "bad")
    refused = here.parents[1] / "scratch" / "refused"
    refused.write_text("no kernel for this")
    ran = sluice("models", "register", model, "bad")
    refused.unlink()
    assert (ran.code, ran.out) == (1, "")
    assert "did not start: no kernel for this" in ran.err
    assert "no model" in sluice("models", "list", model).err
