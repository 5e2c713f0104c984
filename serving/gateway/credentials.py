"""Which keys are good, as the store has it: taken over whole when its revision grows, kept on disk, never un-revoked.

A revision never falls: one that is older than what is known, or none at all, is a store that has forgotten, and what is
known stays in force until somebody changes something, which raises the revision above all that came before. A record
that cannot be read opens nothing, and hides no other. Until anything is known there is no verifier: who shows a key is
told to try again, who shows none is turned away where one is needed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from serving.access.config import TokenRules
from serving.access.keys import KeyRecord, decode
from serving.access.verifier import Verifier
from serving.gateway.kept import write

_log = logging.getLogger(__name__)


class Credentials:
    """What one worker knows of keys and signing keys.

    Args:
        rules: `TokenRules` as JSON; empty where no tokens are taken.
        file: where what is known is kept, mode 0600; empty for nowhere.
        use: is given a verifier whenever what is known has changed, and the ids of the keys that are good.
        own: keys of the installation itself, which are in no store, each as its record's JSON; empty for none.

    Attributes:
        revision: of what is in force, 0 before the first.
        known: whether anything is.
    """

    def __init__(self, rules: str, file: str, use: Callable[[Verifier, frozenset[str]], None], *own: str) -> None:
        self._own = [decode(one) for one in own if one]
        self.revision = 0
        self.known = False
        self._rules = TokenRules.from_dict(json.loads(rules)) if rules else None
        self._file = file
        self._use = use
        self._forgetful = False

    def wants(self, revision: bytes | None) -> bool:
        """Whether the store's revision says that there is something new."""
        there = _number(revision)
        forgetful = self.known and there < self.revision
        if forgetful and not self._forgetful:
            _log.error("the store has forgotten who is let in (revision %d after %d): held", there, self.revision)
        self._forgetful = forgetful
        return there > self.revision or not self.known

    def take(self, revision: bytes | None, records: Iterable[bytes], jwks: bytes | None) -> None:
        """What the store has at this revision is in force from here on, unless it is older than what is.

        It may be although `wants` said that it is newer: a store can be set back between the question and the answer.
        """
        if self.known and _number(revision) < self.revision:
            return
        found = [record for record in map(_record_in, records) if record is not None]
        text = None if jwks is None else jwks.decode("utf-8", "replace")
        self._install(_number(revision), found, text)
        if self._file:
            keys = [record.encode() for record in found]
            write(Path(self._file), json.dumps({"revision": self.revision, "keys": keys, "jwks": text}), "the keys")
        _log.info("letting in by revision %d", self.revision)

    def recall(self) -> None:
        """Starts from what was kept, where something was: in force until the store has something newer."""
        if not self._file:
            return
        try:
            kept = json.loads(Path(self._file).read_text())
            revision, records, jwks = int(kept["revision"]), [decode(text) for text in kept["keys"]], kept["jwks"]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            _log.warning("the keys kept at %s cannot be used: %s", self._file, type(error).__name__)
            return
        self._install(revision, records, jwks if isinstance(jwks, str) else None)
        _log.warning("letting in by the kept keys of revision %d", self.revision)

    def _install(self, revision: int, records: list[KeyRecord], jwks: str | None) -> None:
        self.revision, self.known = revision, True
        self._use(
            Verifier((*records, *self._own), jwks, self._rules),
            frozenset(one.id for one in records if one.revoked_s is None),
        )


def _number(revision: bytes | None) -> int:
    return int(revision) if revision is not None and revision.isdigit() else 0


def _record_in(text: bytes) -> KeyRecord | None:
    try:
        return decode(text)
    except (ValueError, RecursionError):
        _log.warning("a key's record in the store cannot be read: it opens nothing")
        return None
