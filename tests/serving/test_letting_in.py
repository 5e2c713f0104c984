"""Before a start: the key of the settings administers, goes no further, and without any way in nothing begins."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from serving.access.keys import KeyRecord, Shown, create
from serving.access.roles import Role
from serving.control.keys import KeyService, WantedKey
from serving.control.store import connect
from serving.control.valkey import EmbeddedValkey
from serving.errors import SettingsError, SluiceError, StartFailed
from serving.letting_in import admin_key, forget_key, settle, token_rules, without_key
from serving.settings import Settings
from tests.valkey import valkey

__all__ = ["valkey"]

TOKENS = {"issuer": "https://login.example.com", "roles": {"ml-ops": "operate"}}


def settings(access: Mapping[str, Any], namespace: str = "") -> Settings:
    """With this section."""
    return Settings.model_validate({"access": access, "redis": {"namespace": namespace or secrets.token_hex(6)}})


def records(valkey: EmbeddedValkey, of: Settings) -> list[KeyRecord]:
    """The keys in force."""

    async def read() -> list[KeyRecord]:
        store = connect(valkey.url, of.redis.namespace)
        try:
            return list(await KeyService(store).records())
        finally:
            await store.close()

    return asyncio.run(read())


@pytest.fixture
def shown() -> Shown:
    """A key of the settings."""
    return create()


def test_the_key_of_the_settings_administers(valkey: EmbeddedValkey, shown: Shown, tmp_path: Path) -> None:
    """From a variable or from a file; only its digest is in the store, and another one takes its place."""
    file = tmp_path / "admin"
    file.write_text(f"{shown.text}\n")
    file.chmod(0o600)
    given = settings({"required": True, "admin_key_file": file})
    assert settle(given, valkey.url) == ()
    [record] = records(valkey, given)
    assert (record.id, record.digest, record.role) == (shown.id, shown.digest, Role.ADMINISTER)
    other = create()
    again = settings({"required": True, "admin_key": other.text}, given.redis.namespace)
    settle(again, valkey.url)
    assert [one.id for one in records(valkey, again)] == [other.id]


def test_a_file_that_others_may_read_is_said(valkey: EmbeddedValkey, shown: Shown, tmp_path: Path) -> None:
    """In a sentence that says what to do; it is used all the same."""
    file = tmp_path / "admin"
    file.write_text(shown.text)
    file.chmod(0o644)
    [said] = settle(settings({"required": True, "admin_key_file": file}), valkey.url)
    assert f"chmod 600 {file}" in said


@pytest.mark.parametrize("content", ["", "sluice_x", "\xff\xfe", "x" * 5000])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    """And what it holds is not shown."""
    file = tmp_path / "admin"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(SettingsError, match=str(file)) as caught:
        admin_key(settings({"admin_key_file": file}))
    assert not content or content not in caught.value.sentence
    with pytest.raises(SettingsError, match="cannot be read"):
        admin_key(settings({"admin_key_file": tmp_path / "missing"}))


def test_with_no_way_in_nothing_begins(valkey: EmbeddedValkey) -> None:
    """Everybody would be asked for a key, and there is none: a sentence says what would do."""
    with pytest.raises(StartFailed, match="nobody could be let in") as caught:
        settle(settings({"required": True}), valkey.url)
    for name in ("access.admin_key_file", "access.tokens", "sluice keys create"):
        assert name in caught.value.hint


def test_every_way_in_will_do(valkey: EmbeddedValkey) -> None:
    """Tokens, or a key that was made before; and where nobody is asked, none is needed."""
    settle(settings({"required": True, "tokens": TOKENS}), valkey.url)
    settle(settings({}), valkey.url)
    given = settings({"required": True})

    async def make() -> None:
        store = connect(valkey.url, given.redis.namespace)
        await KeyService(store).create(WantedKey("earlier", Role.ADMINISTER), who="test", wait_s=0)
        await store.close()

    asyncio.run(make())
    settle(given, valkey.url)


def test_a_store_that_is_away_is_waited_for_only_where_it_matters(shown: Shown) -> None:
    """With keys it is a reason not to begin; on loopback without any, it is not."""
    nowhere = "redis://:secret@127.0.0.1:1/0"
    settle(settings({}), nowhere)
    for access in ({"required": True}, {"admin_key": shown.text}):
        with pytest.raises(SluiceError) as caught:
            settle(settings(access), nowhere)
        assert "secret" not in f"{caught.value.sentence} {caught.value.hint}"


def test_the_key_goes_no_further(shown: Shown, tmp_path: Path) -> None:
    """Neither in the settings that replicas are given nor in the environment that they inherit."""
    given = settings({"required": True, "admin_key": shown.text})
    told = without_key(given)
    assert (told.access.admin_key, told.access.required) == (None, True)
    assert without_key(settings({"admin_key_file": tmp_path})).access.admin_key_file is None
    environment = {"SLUICE_ACCESS__ADMIN_KEY": shown.text, "SLUICE_ACCESS": "{}", "SLUICE_ACCESS__REQUIRED": "true"}
    for name in ("sluice_access__admin_key", "Sluice_Access", "SLUICE_ACCESS__admin_key", "SLUICE_ACCESS__ADMIN_KEY__"):
        environment[name] = shown.text
    environment |= {"SLUICE_ACCESS__ADMIN_KEY_FILE": "/run/key", "PATH": "/bin"}
    forget_key(environment)
    assert environment == {"SLUICE_ACCESS__REQUIRED": "true", "PATH": "/bin"}


def test_tokens_are_taken_by_the_rules_of_the_settings() -> None:
    """Without the section none are."""
    assert token_rules(settings({})) is None
    rules = token_rules(settings({"tokens": TOKENS}))
    assert rules is not None
    assert (rules.issuer, rules.audience, rules.role("ml-ops")) == (
        "https://login.example.com",
        "sluice",
        Role.OPERATE,
    )
