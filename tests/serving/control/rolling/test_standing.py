"""Webhooks of the settings: read with their secrets, which may change without a restart, by what they hear."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from drift.settings import DriftSettings, WebhookSettings
from serving.control.drift_hooks import ANYWHERE, TARGET, standing_hooks
from serving.control.rolling.drift_findings import number_of
from serving.control.rolling.standing import SecretFile, Unreadable
from serving.errors import SettingsError

OLD, NEW = (f"whsec_{base64.b64encode(one * 32).decode()}" for one in (b"o", b"n"))
URL = "https://hooks.example.com/drift"
INSIDE = "http://127.0.0.1:9000/x"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a secret is."""
    made = tmp_path / "secret"
    made.write_text(f"{OLD}\n")
    return made


def settings_of(*hooks: tuple[str, Path], target: Path | None = None) -> DriftSettings:
    """Settings with these webhooks."""
    made = tuple(WebhookSettings(url=SecretStr(url), secret_file=str(file)) for url, file in hooks)
    return DriftSettings(webhooks=made, rollback_secret_file=None if target is None else str(target))


def test_webhooks_are_found_by_a_number_that_stays_as_long_as_the_address(file: Path) -> None:
    """Whatever else the settings list; those of the settings may be plain and private."""
    found = standing_hooks(settings_of((URL, file), (INSIDE, file)))
    assert list(found) == [number_of(URL), number_of(INSIDE)]
    assert [one.url for one in found.values()] == [URL, INSIDE] == list(found.urls)
    assert [one.secrets for one in found.values()] == [(OLD,), (OLD,)]
    assert found[number_of(URL)].shown == "https://hooks.example.com/…"
    assert OLD not in repr(found[number_of(URL)])
    assert (found.opens_target, found.target_secrets) == (False, ())


def test_a_webhook_hears_what_it_named(file: Path) -> None:
    """Kinds of messages, and nothing else."""
    (hook,) = standing_hooks(settings_of((URL, file))).values()
    assert all(hook.hears(one) for one in WebhookSettings(url=SecretStr(URL), secret_file="f").events)
    assert not hook.hears("drift.test")


def test_a_secret_that_changes_is_taken_up_and_the_old_one_stays_until_it_is_taken_away(file: Path) -> None:
    """The newest stands first; a file that was replaced counts, as one that was written anew."""
    found = standing_hooks(settings_of((URL, file)))
    file.write_text(f"{NEW}\n{OLD}\n")
    assert found[number_of(URL)].secrets == (NEW, OLD)
    other = file.with_suffix(".next")
    other.write_text(f"{NEW}\n")
    other.replace(file)
    assert found[number_of(URL)].secrets == (NEW,)


@pytest.mark.parametrize("said", [None, b"", b"hushhush", b"whsec_\xff"])
def test_a_file_that_cannot_be_read_any_more_leaves_the_secrets_as_they_were(
    file: Path, said: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, without a word of the file, and taken up again once it can be read."""
    found = SecretFile(file)
    if said is None:
        file.unlink()
    else:
        file.write_bytes(said)
    assert [found.secrets for _ in range(3)] == [(OLD,)] * 3
    warned = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warned) == 1
    assert "hush" not in caplog.text
    file.write_text(f"{NEW}\n")
    assert found.secrets == (NEW,)


def test_the_rollback_target_is_opened_by_a_webhook_to_ourselves_or_by_a_secret(file: Path, tmp_path: Path) -> None:
    """With the secrets of both."""
    other = tmp_path / "other"
    other.write_text(NEW)
    ours = standing_hooks(settings_of(("self", file)), "http://127.0.0.1:8080")
    assert (ours.opens_target, ours.target_secrets) == (True, (OLD,))
    (hook,) = ours.values()
    assert (hook.url, hook.ours) == (f"http://127.0.0.1:8080{TARGET}", True)
    assert standing_hooks(settings_of(target=other)).target_secrets == (NEW,)
    both = standing_hooks(settings_of(("self", file), (URL, file), target=other), ANYWHERE)
    assert both.target_secrets == (OLD, NEW)


def test_ourselves_cannot_be_reached_over_tls(file: Path) -> None:
    """The certificate has another name; the sentence says what to do."""
    with pytest.raises(SettingsError, match="the control API speaks TLS") as refused:
        standing_hooks(settings_of(("self", file)), "")
    assert "drift.rollback_secret_file" in refused.value.hint


def test_an_address_that_is_there_twice_is_refused(file: Path) -> None:
    """A delivery could not tell which is meant."""
    with pytest.raises(SettingsError, match="is there twice"):
        standing_hooks(settings_of((URL, file), (URL, file)))


@pytest.mark.parametrize("said", [None, "", "whsec_aHVzaA==", "hushhush"])
def test_a_secret_that_is_none_is_told_without_it(tmp_path: Path, said: str | None) -> None:
    """The sentence names the file and the server, and neither the secret nor the path of the address."""
    file = tmp_path / "secret"
    if said is not None:
        file.write_text(said)
    with pytest.raises(SettingsError) as refused:
        standing_hooks(settings_of(("https://hooks.example.com/token123", file)))
    told = f"{refused.value.sentence} {refused.value.hint}"
    assert "hooks.example.com" in told
    assert "token123" not in told
    assert not said or said not in told
    with pytest.raises(SettingsError, match="The rollback target"):
        standing_hooks(settings_of(target=file))
    with pytest.raises(Unreadable):
        SecretFile(file)


def test_an_address_that_nobody_can_call_is_refused(file: Path) -> None:
    """Before anything starts."""
    with pytest.raises(SettingsError, match="cannot be told"):
        standing_hooks(settings_of(("https://hooks.example.com/x#fragment", file)))
