"""The registry in Redis: its keys, and what is asked of the server.

Whatever changes goes through one script (`commit.lua`), which writes a change and its audit entry or nothing; whatever
is listed comes from another (`list.lua`), in one reply. What a change is was decided in `registry.changes`; what every
store of ours in Redis has is `registry.redis_store`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from registry.baseline_store import BaselineStore
from registry.changes import Answer, AuditEntry, Change, Facts, Recorded
from registry.codec import (
    decode_alias,
    decode_standing,
    decode_version,
    encode_alias,
    encode_standing,
    encode_summary,
    encode_version,
    listed_from,
)
from registry.errors import RegistryError, StoreDamaged, StoreUnavailable, StoreUnsuitable, Unacceptable
from registry.keys import Keys
from registry.lifecycle import Standing, State
from registry.models import Alias, AliasName, Listed, ModelListed, ModelName, Version, VersionNumber
from registry.redis_store import ANSWER_KEPT_MS, TIMEOUT_S, Errors, reply

_ERRORS = Errors(
    misaddressed=Unacceptable,
    unsuitable=StoreUnsuitable,
    unavailable=StoreUnavailable,
    damaged=StoreDamaged,
    meanwhile="Whatever serves goes on; registering and changing has to wait until it is back.",
    kept="versions",
    unreadable=(RegistryError, OverflowError),
)

_COMMIT = Path(__file__).with_name("commit.lua").read_text(encoding="utf-8")
_LIST = Path(__file__).with_name("list.lua").read_text(encoding="utf-8")


def connect(url: str, namespace: str, *, timeout_s: float = TIMEOUT_S) -> Store:
    """A registry at that address; nothing is sent before it is first used.

    Args:
        url: redis://, rediss:// or unix://, with the password in it if there is one.
        namespace: what all of this installation's keys begin with.
        timeout_s: how long one command may take. A broken connection is tried twice more, with growing pauses.

    Raises:
        Unacceptable: the address cannot be used; its text does not repeat it, since it may hold a password.
    """
    return Store(url, Keys(namespace), timeout_s)


class Store(BaselineStore):
    """One installation's registry on one Redis server. Make it with `connect`.

    Args:
        url: the server's.
        keys: what the registry's keys are called.
        timeout_s: how long one command may take.
    """

    def __init__(self, url: str, keys: Keys, timeout_s: float) -> None:
        super().__init__(url, _ERRORS, timeout_s, keys)

    async def facts(self, model: ModelName, numbers: Iterable[VersionNumber] = ()) -> Facts:
        """What is held of the model and of these versions, at one moment."""
        asked = sorted(set(numbers))
        # HMGET wants one field at least; no version is called nothing.
        fields = [str(int(number)) for number in asked] or [""]
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=True)
            pipe.hmget(self.keys.of(model, "model"), ["revision", "newest"])
            pipe.hgetall(self.keys.of(model, "aliases"))
            pipe.hmget(self.keys.of(model, "states"), fields)
            pipe.hmget(self.keys.of(model, "summaries"), fields)
            pipe.time()
            (revision, newest), aliases, states, summaries, (seconds, micros) = await pipe.execute()
            said = {n: s.decode() for n, s in zip(asked, states, strict=False) if s is not None}
            listed = {n: s for n, s in zip(asked, summaries, strict=False) if s is not None}
            return Facts(
                model=model,
                revision=int(revision or 0),
                newest=int(newest or 0),
                aliases=_aliases_from(aliases),
                standings={number: decode_standing(text) for number, text in said.items()},
                listed={number: listed_from(json.loads(text), said[number]) for number, text in listed.items()},
                now_ms=seconds * 1000 + micros // 1000,
            )

    async def commit(self, change: Change) -> Answer:
        """Writes all of a change if the model is still at the expected revision, else nothing."""
        keys = self.keys
        names = [
            *(keys.of(change.model, "model"), keys.models, keys.of(change.model, "versions"), keys.audit),
            keys.answer(secrets.token_urlsafe(12)),
            *(keys.of(change.model, part) for part in ("records", "summaries", "states", "aliases", "baselines")),
            keys.baselines,
        ]
        written, durable = await self._durably(_COMMIT, names, [json.dumps(self._said(change))])
        return Answer(done=written == 1, durable=written == 1 and durable)

    async def version(self, model: ModelName, number: VersionNumber) -> Version | None:
        """The version of that number, None where there is none."""
        async with self._boundary():
            blob = await reply(self._redis.hget(self.keys.of(model, "records"), str(int(number))))
            return None if blob is None else decode_version(blob)

    async def listed(self, model: ModelName, *, below: int | None, limit: int) -> Sequence[Listed]:
        """A page of the model's versions, the highest number first, in one round trip.

        Args:
            model: whose.
            below: only numbers less than this one; None for all.
            limit: how many at most.
        """
        names = [self.keys.of(model, part) for part in ("versions", "summaries", "states")]
        async with self._boundary():
            highest = "+inf" if below is None else f"({below}"
            said = await reply(self._redis.eval(_LIST, len(names), *names, highest, str(limit)))
            return [
                listed_from(summary, standing)
                for summaries, standings in said
                for summary, standing in zip(json.loads(summaries), standings.decode().split(","), strict=True)
            ]

    async def models(self, *, after: str, limit: int) -> Sequence[ModelListed]:
        """A page of the models by name, in two round trips; only those whose name sorts after the given one."""
        async with self._boundary():
            least = f"({after}" if after else "-"
            found = await reply(self._redis.zrangebylex(self.keys.models, least, "+", start=0, num=limit))
            names = [ModelName(name.decode()) for name in found]
            pipe = self._redis.pipeline(transaction=True)
            for name in names:
                pipe.hmget(self.keys.of(name, "model"), ["revision", "newest"])
                pipe.zcard(self.keys.of(name, "versions"))
                pipe.hgetall(self.keys.of(name, "aliases"))
            said = iter(await pipe.execute() if names else ())
            return [_model_listed(name, *three) for name, *three in zip(names, said, said, said, strict=True)]

    async def audit(self, *, before: str, limit: int) -> Sequence[Recorded]:
        """A page of the audit log, newest first; only entries older than the given id, all where it is empty."""
        async with self._boundary():
            newest = f"({before}" if before else "+"
            found = await reply(self._redis.xrevrange(self.keys.audit, max=newest, count=limit))
            return [_recorded(entry_id.decode(), fields[b"entry"]) for entry_id, fields in found]

    # Below: how to speak to the server.

    def _said(self, change: Change) -> dict[str, Any]:
        created = change.created
        gone = [str(int(number)) for number, state in change.states.items() if state is State.GONE]
        of_versions = [self.keys.of(change.model, part) for part in ("records", "summaries", "baselines")]
        return {
            "expected": str(change.expected),
            "revision": str(change.revision),
            "model": str(change.model),
            "created": [str(int(created.number))] if created else [],
            "removed": gone,
            "puts": list(self._puts(change)),
            "drops": [
                *([key, number] for number in gone for key in of_versions),
                *([self.keys.baselines, self.keys.baseline_field(change.model, int(number))] for number in gone),
                *([self.keys.of(change.model, "aliases"), name] for name, to in change.aliases.items() if to is None),
            ],
            "entry": json.dumps(asdict(change.entry), sort_keys=True),
            "answer_kept_ms": ANSWER_KEPT_MS,
        }

    def _puts(self, change: Change) -> Iterable[tuple[str, str, str]]:
        """Key of a hash, field and value of all that it writes."""
        if change.created:
            number = str(int(change.created.number))
            yield self.keys.of(change.model, "records"), number, encode_version(change.created).decode()
            yield self.keys.of(change.model, "summaries"), number, encode_summary(change.created)
        for version, state in change.states.items():
            standing = encode_standing(Standing(state, change.revision))
            yield self.keys.of(change.model, "states"), str(int(version)), standing
        for name, target in change.aliases.items():
            if target is not None:
                yield self.keys.of(change.model, "aliases"), name, encode_alias(Alias(target, change.revision))


def _aliases_from(said: Mapping[bytes, bytes]) -> Mapping[AliasName, Alias]:
    return {AliasName(name.decode()): decode_alias(text.decode()) for name, text in said.items()}


def _model_listed(
    name: ModelName, numbers: Sequence[bytes | None], versions: int, aliases: Mapping[bytes, bytes]
) -> ModelListed:
    revision, newest = (int(number or 0) for number in numbers)
    return ModelListed(name, revision, versions, newest, _aliases_from(aliases))


def _recorded(entry_id: str, said: bytes) -> Recorded:
    return Recorded(entry_id, int(entry_id.partition("-")[0]), AuditEntry(**json.loads(said)))
