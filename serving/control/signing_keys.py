"""Keeps the keys that tokens are signed with as their issuer publishes them: a duty of the control room.

It alone asks the issuer; gateways read the store. So an issuer that goes away locks nobody out (the keys that are
there stay, for as long as it takes), a fleet asks as little as one machine does, and a token never makes a gateway call
out. A gateway that meets a key that it does not know leaves a note in the store, and the set is fetched anew, at most
once in two seconds however many notes there are. What the set may hold is `serving.control.jwks`.
"""

from __future__ import annotations

import json
import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from serving.control.access_changes import AccessAnswer
from serving.control.jwks import Jwk, encode_keys, read_keys
from serving.control.publishing import LedgerEntry
from serving.outgoing import CallFailed, NotCallable, Reply, Target

_log = logging.getLogger(__name__)

WANTED_PAUSE_S = 2.0
"""How long between two fetches that gateways asked for, at least."""

_WHO = "conductor"
_DISCOVERY = "/.well-known/openid-configuration"
_SPREAD = 0.2
_LONGEST_BACKOFF_S = 60.0
_MOST_DOUBLINGS = 10
_OK = 200


class Store(Protocol):
    """Where the keys are kept (`serving.control.access_store`)."""

    async def jwks(self) -> str | None:
        """What was kept last."""

    async def keep_jwks(self, text: str, entry: LedgerEntry | None = None) -> AccessAnswer | None:
        """Keeps them; with an entry where they are others than before."""

    async def take_wanted(self) -> bool:
        """Whether a gateway has met a key that it does not know since this was last asked."""


class Calls(Protocol):
    """How the issuer is asked (`serving.outgoing`)."""

    async def get(self, target: Target) -> Reply:
        """What is at the address."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose keys they are.

    Attributes:
        name: the exact `iss` of its tokens; an address where `jwks_url` is None.
        jwks_url: where its keys are; None to ask its openid-configuration.
        algorithms: that may sign a token.
        refresh_s: how often the set is fetched, seconds.
    """

    name: str
    jwks_url: str | None = None
    algorithms: Sequence[str] = ("RS256", "ES256")
    refresh_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """When the set is fetched next. Seconds of one clock.

    Attributes:
        next_s: when it is due by itself.
        last_s: when it was fetched or tried last.
        failures: how many tries in a row have failed.
    """

    next_s: float = -math.inf
    last_s: float = -math.inf
    failures: int = 0

    def due(self, now_s: float, *, wanted: bool) -> bool:
        """Whether now is the time, or, where a gateway asked, whether it may be."""
        return now_s >= self.next_s or (wanted and now_s - self.last_s >= WANTED_PAUSE_S)

    def after(self, now_s: float, refresh_s: float, *, worked: bool, chance: float) -> Schedule:
        """The schedule after a try. `chance` is from 0 to 1: many installations should not ask as one."""
        failures = 0 if worked else self.failures + 1
        backoff_s = min(_LONGEST_BACKOFF_S, 2.0 ** min(failures, _MOST_DOUBLINGS))
        pause_s = refresh_s if worked else min(refresh_s, backoff_s)
        return Schedule(now_s + pause_s * (1 - _SPREAD * chance), now_s, failures)


class SigningKeys:
    """Keeps the store's signing keys; call `keep` once a second.

    Args:
        issuer: whose keys.
        store: where to.
        calls: how the issuer is asked; a bound on size and time is theirs.
        clock: seconds that only go forward.
        now: seconds since 1970.
        chance: numbers from 0 to 1, to spread the fetches.
    """

    def __init__(
        self,
        issuer: Issuer,
        store: Store,
        calls: Calls,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._issuer = issuer
        self._store = store
        self._calls = calls
        self._clock = clock
        self._now = now
        self._chance = chance
        self._schedule = Schedule()
        self._wanted = False
        self._told = ""
        self._cleared = False

    async def keep(self) -> None:
        """Fetches the set if it is time. What fails is told once; the keys that are there stay.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        if not self._cleared:
            await self._clear_others()
        self._wanted = await self._store.take_wanted() or self._wanted
        if not self._schedule.due(self._clock(), wanted=self._wanted):
            return
        self._wanted = False
        try:
            await self._fetch()
        except (CallFailed, NotCallable) as error:
            self._next(worked=False)
            self._tell(f"{error.sentence} {error.hint}".strip())
        else:
            self._next(worked=True)
            self._tell("")

    async def _clear_others(self) -> None:
        """Another issuer's keys go at once, before this one was ever reached: nobody vouches for them any more."""
        said = _decoded(await self._store.jwks())
        if said and said.get("issuer") != self._issuer.name:
            why = "the settings name another issuer"
            await self._store.keep_jwks(self._text([], ""), _entry(self._issuer.name, [], (), why))
        self._cleared = True

    async def _fetch(self) -> None:
        url = self._issuer.jwks_url or await self._discovered()
        target = Target.trusted(url)
        try:
            reading = read_keys(await self._document(target), self._issuer.algorithms)
        except ValueError as error:
            raise CallFailed(f"What {target} publishes cannot be used: {error}.") from error
        if not reading.keys:
            raise CallFailed(f"{target} publishes no key that could check a token.", " ".join(reading.left_out[:3]))
        before = _decoded(await self._store.jwks()).get("keys")
        changed = before != [dict(key) for key in reading.keys]
        entry = _entry(self._issuer.name, reading.keys, reading.left_out, "") if changed else None
        await self._store.keep_jwks(self._text(reading.keys, str(target)), entry)
        if changed:
            _log.info("tokens of %s are checked with %d keys now", self._issuer.name, len(reading.keys))
            for sentence in reading.left_out:
                _log.warning("of the keys of %s: %s", self._issuer.name, sentence)

    async def _discovered(self) -> str:
        """The set's address, as the issuer's own configuration gives it (OpenID Connect Discovery 1.0, 4.3)."""
        target = Target.trusted(self._issuer.name.rstrip("/") + _DISCOVERY)
        said = await self._document(target)
        if not isinstance(said, Mapping) or said.get("issuer") != self._issuer.name:
            raise CallFailed(
                f"{target} describes another issuer than {self._issuer.name}.",
                "access.tokens.issuer must be what the issuer calls itself, to the letter.",
            )
        url = said.get("jwks_uri")
        if not isinstance(url, str):
            raise CallFailed(f"{target} does not say where its keys are.", "Name them in access.tokens.jwks_url.")
        if target.scheme == "https" and Target.trusted(url).scheme != "https":
            raise CallFailed(f"{target} says that its keys are at an address without TLS, and none are fetched there.")
        return url

    async def _document(self, target: Target) -> object:
        reply = await self._calls.get(target)
        if reply.status != _OK:
            raise CallFailed(f"{target} answered {reply.status}.")
        try:
            return json.loads(reply.body)
        except (ValueError, RecursionError) as error:
            raise CallFailed(f"{target} answered with something that is no JSON.") from error

    def _text(self, keys: Sequence[Jwk], url: str) -> str:
        return encode_keys(keys, issuer=self._issuer.name, url=url, fetched_s=self._now())

    def _next(self, *, worked: bool) -> None:
        now = self._clock()
        self._schedule = self._schedule.after(now, self._issuer.refresh_s, worked=worked, chance=self._chance())

    def _tell(self, words: str) -> None:
        if words == self._told:
            return
        self._told = words
        if words:
            _log.warning(
                "the keys of %s cannot be fetched, and those that are there stay: %s", self._issuer.name, words
            )
        else:
            _log.info("the keys of %s can be fetched again", self._issuer.name)


def _decoded(text: str | None) -> Mapping[str, Any]:
    try:
        said = json.loads(text or "{}")
    except ValueError:
        return {}
    return said if isinstance(said, Mapping) else {}


def _entry(issuer: str, keys: Sequence[Jwk], left_out: Sequence[str], why: str) -> LedgerEntry:
    facts = {"issuer": issuer, "keys": [key["kid"] for key in keys], "left_out": list(left_out)}
    return LedgerEntry("signing-keys", _WHO, why, facts)
