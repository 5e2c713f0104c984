"""Who is let in at the control room, as the store has it now.

The listener asks on every request and must not wait for the store, nor shut because the store is away: so what the
store holds of keys and of the issuer's signing keys is read beside it, whenever its revision has changed, and the
verifier that is made of it is swapped whole. While nothing can be read, the last that is known stays; so it does while
the store's revision is an older one, for a store that has forgotten would take back that a key was taken back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from serving.access.config import TokenRules
from serving.access.keys import KeyRecord
from serving.access.principal import ANONYMOUS, Principal
from serving.access.verifier import Denied, Verifier
from serving.errors import SluiceError

POLL_S: Final = 0.25
"""How often the revision is looked at: a key that is taken back works here for that long at most."""

_log = logging.getLogger(__name__)


class Credentials(Protocol):
    """Where keys and signing keys are kept."""

    async def access_revision(self) -> int:
        """Rises with every change of what is kept; 0 where nothing ever was."""

    async def key_records(self) -> Sequence[KeyRecord]:
        """All keys, those that were taken back lately among them."""

    async def jwks(self) -> str | None:
        """The issuer's signing keys, as JSON; None where none were fetched."""

    async def want_signing_keys(self) -> None:
        """Has whoever fetches them fetch them anew."""


class Doorman:
    """Says who asks. Without a store and without `required`, everybody is let in who shows nothing wrong.

    Args:
        store: where keys are kept; None for an installation that has none.
        rules: what is asked of tokens; None where none are taken.
        required: whether somebody who shows nothing is turned away.
        own: keys of the installation itself, which are in no store and end with it.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        store: Credentials | None = None,
        rules: TokenRules | None = None,
        *,
        required: bool = False,
        own: Sequence[KeyRecord] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.required = required
        self._own = tuple(own)
        self._store = store
        self._rules = rules
        self._clock = clock
        self._revision: int | None = None
        self._verifier = Verifier(self._own, None, rules)
        self._wanted = False
        self._one_looks = asyncio.Lock()

    def ask(self, authorization: bytes | None) -> Principal | Denied:
        """Who that is, by what they show; anonymous where nothing is shown and nothing is asked for.

        A wrong key is turned away even where none is asked for: whoever shows one believes that it works.

        Args:
            authorization: the header's value; None where there is none.
        """
        if authorization is None and not self.required:
            return ANONYMOUS
        found = self._verifier.verify(authorization, self._clock())
        if isinstance(found, Denied) and found.kind == "unknown_signing_key":
            self._wanted = True
        return found

    async def look(self) -> None:
        """Takes over what has changed in the store, and has signing keys fetched that were asked for in vain.

        Raises:
            SluiceError: the store cannot be read; what was known stays.
        """
        if self._store is None:
            return
        if self._wanted:
            await self._store.want_signing_keys()
            self._wanted = False
        async with self._one_looks:  # of two at once, the slower one would put back what the other replaced
            while not await self._took(self._store):
                pass

    async def _took(self, store: Credentials) -> bool:
        """Takes over what is there, if it is newer; False where it changed meanwhile, and there is more to take."""
        revision = await store.access_revision()
        if self._revision is not None and revision <= self._revision:
            return True
        records, jwks = await store.key_records(), await store.jwks()
        later = await store.access_revision()
        if later < revision:  # it forgot while it was read, and what was read may be from before
            return True
        self._verifier = Verifier((*records, *self._own), jwks, self._rules)
        self._revision = revision
        return later == revision

    async def run(self) -> None:
        """Looks again and again, until it is cancelled."""
        failing = False
        while True:
            try:
                await self.look()
                failing = False
            except SluiceError as error:
                if not failing:
                    _log.warning("Keys cannot be read, those that are known stay: %s", error)
                failing = True
            except Exception:  # noqa: BLE001 - a record that cannot be read must not end what takes keys back
                if not failing:
                    _log.exception("keys cannot be read, those that are known stay")
                failing = True
            await asyncio.sleep(POLL_S)
