"""Before a start: whether anybody could be let in, and the key of the settings put where every door knows it.

The key of the settings goes no further than this: what is started afterwards is told of it by the store, and is given
settings and an environment without it.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from serving.access.config import TokenRules
from serving.access.keys import SHAPE, Shown, parse
from serving.control.errors import StoreUnavailable
from serving.control.keys import KeyService
from serving.control.store import connect
from serving.errors import SettingsError, StartFailed
from serving.settings import Settings

_LONGEST: Final = 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_SECTION: Final = "SLUICE_ACCESS"
_KEY: Final = f"{_SECTION}__ADMIN_KEY"


def settle(settings: Settings, redis_url: str) -> tuple[str, ...]:
    """Has the key of the settings administer, and returns what should be said about it, in sentences.

    Call it where no event loop runs.

    Args:
        settings: of the installation.
        redis_url: of its store.

    Raises:
        SettingsError: the file of the key cannot be used.
        StartFailed: everybody is asked for a key, and there is none; or the store does not answer.
    """
    shown = admin_key(settings)
    asyncio.run(_settled(settings, redis_url, shown))
    return _exposed(settings.access.admin_key_file)


def admin_key(settings: Settings) -> Shown | None:
    """The administering key of the settings; None where they name none.

    Raises:
        SettingsError: its file cannot be read, or holds no key.
    """
    access = settings.access
    if access.admin_key is not None:
        return parse(access.admin_key.get_secret_value())
    if access.admin_key_file is None:
        return None
    try:
        with access.admin_key_file.open("rb") as file:
            shown = parse(file.read(_LONGEST).decode("ascii").strip())
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"access.admin_key_file {access.admin_key_file} cannot be read: {words}.", _MAKE) from None
    if shown is None:
        raise SettingsError(f"access.admin_key_file {access.admin_key_file} holds no key ({SHAPE}).", _MAKE)
    return shown


_MAKE: Final = "Make one with `sluice keys generate`, and keep it in a file that nobody else may read."


def token_rules(settings: Settings) -> TokenRules | None:
    """What is asked of tokens; None where none are taken."""
    tokens = settings.access.tokens
    return None if tokens is None else TokenRules(**tokens.model_dump(exclude={"jwks_url", "refresh_s"}))


def without_key(settings: Settings) -> Settings:
    """The same settings, for whoever need not know the key."""
    access = settings.access.model_copy(update={"admin_key": None, "admin_key_file": None})
    return settings.model_copy(update={"access": access})


def forget_key(environment: MutableMapping[str, str] = os.environ) -> None:
    """Takes the key out of the environment, which everything that is started from here inherits.

    Settings are read from variables in any case of letters, so it is looked for in any.
    """
    for name in list(environment):
        if name.upper() == _SECTION or name.upper().startswith(_KEY):
            del environment[name]


async def _settled(settings: Settings, redis_url: str, shown: Shown | None) -> None:
    store = connect(redis_url, settings.redis.namespace)
    required, tokens = settings.access.required, settings.access.tokens is not None
    keys = KeyService(store, required=required, tokens=tokens)
    try:
        await keys.settle_admin_key(shown)
        if required and not tokens and not await keys.records():
            raise StartFailed(
                "Everybody is asked for a key (access.required), and there is none, so nobody could be let in.",
                "Name an administering key as access.admin_key_file (`sluice keys generate` makes one) or an issuer of "
                "tokens as access.tokens; or start once on loopback without access.required and make keys with "
                "`sluice keys create`.",
            )
    except StoreUnavailable as error:
        if not required and shown is None:  # nobody waits for it, and loopback is as easy as it was
            return
        raise StartFailed(error.sentence, "Check redis.url, and that the server runs.") from error
    finally:
        await store.close()


def _exposed(file: Path | None) -> tuple[str, ...]:
    """A sentence where others may read the file. Sockets and the like are read as they are."""
    if file is None:
        return ()
    mode = file.stat().st_mode
    if not (stat.S_ISREG(mode) and mode & _OTHERS):
        return ()
    return (f"Others on this machine may read the key in {file}: chmod 600 {file}.",)
