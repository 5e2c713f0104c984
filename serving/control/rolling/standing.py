"""The webhooks of the settings: who hears of drift, by an address that stays and secrets that may change.

A file of secrets is looked at whenever it is needed, and read again where it has changed: an operator replaces a secret
without a restart. What cannot be read then leaves the secrets as they were, and is told once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from drift.errors import Unfit
from drift.signing import secrets_in
from serving.control.rolling.outward import shown_url

_log = logging.getLogger(__name__)

_LARGEST_FILE: Final = 65_536


class Unreadable(ValueError):  # noqa: N818 - named after what happened; ValueError says that it is an error
    """A file of secrets holds none, or cannot be read; the text repeats nothing of it."""


class _Stamp(NamedTuple):
    """What changes with a file: a file that was replaced has another inode, whatever its times say."""

    modified_ns: int
    inode: int
    size: int


class SecretFile:
    """Secrets of one file, as they are now.

    Args:
        path: of the file.

    Raises:
        Unreadable: it holds none, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: _Stamp | None = self._look()
        self._secrets = self._read()
        self._wrong = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The newest first; those of before where the file cannot be read now."""
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp
                self._secrets, self._wrong = self._read(), ""
                _log.info("the secrets in %s have changed, and are used from now on", self.path)
        except Unreadable as error:
            if str(error) != self._wrong:
                _log.warning("the secrets that were in %s before stay in use: %s", self.path, error)
            self._wrong = str(error)
        return self._secrets

    def _look(self) -> _Stamp:
        try:
            said = self.path.stat()
        except OSError as error:
            self._stamp = None
            raise Unreadable(f"{error.strerror or 'it cannot be looked at'}") from error
        return _Stamp(said.st_mtime_ns, said.st_ino, said.st_size)

    def _read(self) -> tuple[str, ...]:
        try:
            with self.path.open("rb") as file:
                return secrets_in(file.read(_LARGEST_FILE).decode())
        except OSError as error:
            raise Unreadable(error.strerror or "it cannot be read") from error
        except UnicodeDecodeError as error:
            raise Unreadable("it is no text") from error
        except Unfit as error:
            raise Unreadable(error.sentence) from error


@dataclass(frozen=True, slots=True)
class StandingHook:
    """One webhook of the settings, as it is now.

    Attributes:
        number: of its address, by which deliveries name it.
        name: for people; may be empty.
        url: where.
        events: kinds of messages that it hears (`drift.webhooks.Kind`).
        secrets: what deliveries are signed with, the newest first; never shown.
        ours: whether it is this installation's own rollback target.
    """

    number: int
    name: str
    url: str = field(repr=False)
    events: tuple[str, ...]
    secrets: tuple[str, ...] = field(repr=False)
    ours: bool = False

    @property
    def shown(self) -> str:
        """The address as far as anybody may see it."""
        return shown_url(self.url)

    def hears(self, event: str) -> bool:
        """Whether it wants to know of this kind of message."""
        return event in self.events


class Standing(NamedTuple):
    """One webhook as the settings have it, and its file of secrets; attributes as of `StandingHook`."""

    number: int
    name: str
    url: str
    events: tuple[str, ...]
    file: SecretFile
    ours: bool = False


class StandingHooks(Mapping[int, StandingHook]):
    """The webhooks of the settings by the number of their address, each with the secrets that it has now.

    Args:
        all_of_them: in the order of the settings.
        others: opens the rollback target to others than the webhooks to ourselves; None for nobody.
    """

    def __init__(self, all_of_them: Iterable[Standing] = (), others: SecretFile | None = None) -> None:
        self._standing = {one.number: one for one in all_of_them}
        self._others = others

    def __getitem__(self, number: int) -> StandingHook:
        """The webhook of that number."""
        one = self._standing[number]
        return StandingHook(one.number, one.name, one.url, one.events, one.file.secrets, one.ours)

    def __iter__(self) -> Iterator[int]:
        """Their numbers, in the order of the settings."""
        return iter(self._standing)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._standing)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where they are."""
        return tuple(one.url for one in self._standing.values())

    @property
    def opens_target(self) -> bool:
        """Whether anybody may ask our rollback target for anything."""
        return self._others is not None or any(one.ours for one in self._standing.values())

    @property
    def target_secrets(self) -> tuple[str, ...]:
        """Secrets with which our rollback target may be asked: of webhooks to ourselves, and of others."""
        ours = [secret for one in self._standing.values() if one.ours for secret in one.file.secrets]
        others = () if self._others is None else self._others.secrets
        return tuple(dict.fromkeys((*ours, *others)))
