"""What the sidecar reads and writes in Redis: samples, how far watching has come, findings. The room's one such file.

Whatever a batch of samples led to is written by one script with its acknowledgement, and only for the sidecar that
holds the model's lease (`fenced.lua`): a sidecar may die at any moment, or wake up long after another one took over,
and nothing is lost or counted twice.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from drift.errors import Damaged, Misaddressed, Unavailable, Unsuitable
from drift.findings import Finding
from drift.keys import CAPTURED_KEPT_MS, GROUP, MOST_FINDINGS, MOST_HISTORY, DriftKeys
from drift.labels import Labelled
from drift.status import Status, WindowSeen, finite
from registry.redis_store import TIMEOUT_S, Errors, RedisStore, reply
from router.evidence.errors import EvidenceError
from router.verdicts.values import FIELDS, Values, values_from

CORRECT: Final = "correct"
"""The metric of feedback that says whether an answer was right: 1, or 0."""

STATE_KEPT_MS: Final = 90 * 24 * 3_600 * 1_000
"""How far watching has come is forgotten when no sample came for so long."""

_ERRORS: Final = Errors(
    misaddressed=Misaddressed,
    unsuitable=Unsuitable,
    unavailable=Unavailable,
    damaged=Damaged,
    meanwhile="Samples wait in their streams, which are bounded, until it is back.",
    kept="samples",
    unreadable=(EvidenceError,),
)


def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


_FENCED: Final = _script("fenced.lua")
_SAMPLED: Final = _script("sampled.lua")
_LEASE: Final = _script("lease.lua")
_FORGET: Final = _script("forget.lua")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")
_KEEP: Final = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
)
_LET_GO: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1"


class Entry(NamedTuple):
    """One entry of a stream of samples.

    Attributes:
        id: of it.
        blob: of the batch; None where it was taken off the stream after it had been handed out.
    """

    id: str
    blob: bytes | None


@dataclass(frozen=True, slots=True)
class VersionStep:
    """What is to be stored of one version.

    Attributes:
        fields: of its state (`drift.progress_form`).
        afresh: whether they take the place of all that is there.
        arms: fields of what is known of it beside stable (`drift.beside`).
        labels: fields of what is known of its labels (`drift.labels`).
        seen: windows that were heard.
        findings: that were made.
        to_learn: batches of which it will learn its baseline.
        learned: whether it has a baseline now, so that what it was to learn of may go.
        status: for people; None where it is to stay.
        gone: whether the version was deleted, so that all that is known of it goes, and nothing else is stored.
    """

    fields: Mapping[str, bytes] = field(default_factory=dict)
    afresh: bool = False
    arms: Mapping[str, bytes] = field(default_factory=dict)
    labels: Mapping[str, bytes] = field(default_factory=dict)
    seen: Sequence[WindowSeen] = ()
    findings: Sequence[Finding] = ()
    to_learn: Sequence[bytes] = ()
    learned: bool = False
    status: Status | None = None
    gone: bool = False


class Store(RedisStore):
    """What one installation keeps of drift on one Redis server.

    Args:
        url: of the server.
        keys: what is called how.
        timeout_s: how long one command may take.
        captured_bytes: of a model's samples that were read, so many are kept for whoever trains anew.

    Raises:
        Misaddressed: the address cannot be used; its text does not repeat it, since it may hold a password.
    """

    def __init__(
        self,
        url: str,
        keys: DriftKeys,
        timeout_s: float = TIMEOUT_S,
        *,
        captured_bytes: Callable[[str], int] = lambda _: 0,
    ) -> None:
        super().__init__(url, _ERRORS, timeout_s)
        self.keys = keys
        self._captured_bytes = captured_bytes

    async def models(self) -> Sequence[str]:
        """Names of those that have samples, in order."""
        async with self._boundary():
            return sorted(name.decode() for name in await reply(self._redis.smembers(self.keys.sampled)))

    async def live(self, sidecar: str, within_ms: int) -> int:
        """How many sidecars live, this one among them, which says so herewith.

        Args:
            sidecar: its id.
            within_ms: one that has said nothing for so long does not live.
        """
        async with self._boundary():
            seconds, micros = await reply(self._redis.time())
            now_ms = seconds * 1000 + micros // 1000
            pipe = self._redis.pipeline(transaction=True)
            pipe.zadd(self.keys.sidecars, {sidecar: now_ms})
            pipe.zremrangebyscore(self.keys.sidecars, "-inf", now_ms - within_ms)
            pipe.zcard(self.keys.sidecars)
            return int((await pipe.execute())[-1])

    async def leave(self, sidecar: str) -> None:
        """That sidecar lives no more."""
        async with self._boundary():
            await reply(self._redis.zrem(self.keys.sidecars, sidecar))

    async def hold(self, model: str, token: str, for_ms: int) -> bool:
        """Takes the model where nobody holds it; whether that token holds it now."""
        async with self._boundary():
            return bool(await reply(self._redis.eval(_LEASE, 1, self.keys.lease(model), token, str(for_ms))))

    async def keep(self, model: str, token: str, for_ms: int) -> bool:
        """Keeps the model; whether that token held it: one whose lease ran out does not know who came in between."""
        async with self._boundary():
            return bool(await reply(self._redis.eval(_KEEP, 1, self.keys.lease(model), token, str(for_ms))))

    async def let_go(self, model: str, token: str) -> None:
        """Leaves the model to others."""
        async with self._boundary():
            await reply(self._redis.eval(_LET_GO, 1, self.keys.lease(model), token))

    async def sampled(self, model: str, token: str, after: str, count: int) -> Sequence[Entry] | None:
        """The next entries of the stream; None where another one holds the model.

        Args:
            model: whose.
            token: that holds it.
            after: '>' for new ones, or the id after which those that were read and not acknowledged are read again.
            count: how many at most.
        """
        names = [self.keys.lease(model), self.keys.samples(model), self.keys.captured(model)]
        asked = [token, GROUP, str(count), after, str(self._captured_bytes(model)), str(CAPTURED_KEPT_MS)]
        async with self._boundary():
            said = await reply(self._redis.eval(_SAMPLED, len(names), *names, *asked))
            if isinstance(said, int):
                return None
            return [_entry(one) for one in said[0][1]] if said else []

    async def pending(self, model: str) -> int:
        """Entries of the stream that are not acknowledged."""
        async with self._boundary():
            return int(await reply(self._redis.xlen(self.keys.samples(model))))

    async def keepers(self, model: str) -> Mapping[str, bytes]:
        """What is known of the model's keepers, as it was stored."""
        async with self._boundary():
            found = await reply(self._redis.hgetall(self.keys.keepers(model)))
            return {name.decode(): raw for name, raw in found.items() if name}

    async def state(self, model: str, version: int) -> Mapping[str, bytes]:
        """The fields that were stored of a version; none where there are none."""
        return await self._fields(self.keys.state(model, version))

    async def arms(self, model: str, version: int) -> Mapping[str, bytes]:
        """The fields that were stored of a candidate beside stable; none where there are none."""
        return await self._fields(self.keys.arms(model, version))

    async def labels(self, model: str, version: int) -> Mapping[str, bytes]:
        """The fields that were stored of a version's labels; none where there are none."""
        return await self._fields(self.keys.labels(model, version))

    async def graded(self, model: str, versions: Sequence[int]) -> Mapping[int, Labelled]:
        """What labels say of these versions so far; those that have none are left out."""
        names = [f"{version}|{CORRECT}|{counter}" for version in versions for counter in FIELDS]
        if not names:
            return {}
        async with self._boundary():
            said = iter(await reply(self._redis.hmget(self.keys.feedback(model), names)))
            found = {version: values_from({name: int(next(said) or 0) for name in FIELDS}) for version in versions}
        return {version: _labelled(one) for version, one in found.items() if one.count}

    async def _fields(self, key: str) -> Mapping[str, bytes]:
        async with self._boundary():
            return {name.decode(): raw for name, raw in (await reply(self._redis.hgetall(key))).items()}

    async def told(self, model: str) -> frozenset[int]:
        """Versions of which anything was told."""
        async with self._boundary():
            names = [name.decode(errors="replace") for name in await reply(self._redis.hkeys(self.keys.status))]
        said = (name.rpartition("/") for name in names)
        return frozenset(int(number) for of, _, number in said if of == model and _NUMBER.fullmatch(number))

    async def forget(self, model: str, token: str) -> bool:
        """Forgets a model of which no version is left and no sample waits; whether it did.

        Args:
            model: its name.
            token: that holds it.
        """
        keys = self.keys
        own = (keys.keepers(model), keys.captured(model))
        names = [keys.lease(model), keys.samples(model), keys.sampled, keys.status, *own]
        async with self._boundary():
            return bool(await reply(self._redis.eval(_FORGET, len(names), *names, token, model)))

    async def to_learn(self, model: str, version: int) -> Sequence[bytes]:
        """The batches of which a version is to learn its baseline."""
        async with self._boundary():
            return list(await reply(self._redis.lrange(self.keys.learning(model, version), 0, -1)))

    async def step(
        self,
        model: str,
        token: str,
        versions: Mapping[int, VersionStep],
        keepers: Mapping[str, bytes | None],
        read: Sequence[str],
    ) -> bool:
        """Stores what these samples led to, and acknowledges them; whether the token still held the model.

        Args:
            model: whose.
            token: that holds it.
            versions: what is to be stored, by version.
            keepers: what is known of those that changed; None forgets one.
            read: ids of the entries.
        """
        said = _Said(self.keys.lease(model), self.keys.keepers(model))
        self._told_of_model(said, model, keepers, read)
        for version, one in versions.items():
            self._told_of_version(said, model, version, one)
        async with self._boundary():
            nonce = secrets.token_hex(8)
            names = said.names
            return bool(await reply(self._redis.eval(_FENCED, len(names), *names, token, nonce, *said.words)))

    def _told_of_model(self, said: _Said, model: str, keepers: Mapping[str, bytes | None], read: Sequence[str]) -> None:
        for name, raw in keepers.items():
            said.run(*(("HDEL", self.keys.keepers(model), name) if raw is None else
                       ("HSET", self.keys.keepers(model), name, raw)))  # fmt: skip
        for some in _in_parts(read):
            said.run("XACK", self.keys.samples(model), GROUP, *some)
            said.run("XDEL", self.keys.samples(model), *some)

    def _told_of_version(self, said: _Said, model: str, version: int, one: VersionStep) -> None:
        keys, state = self.keys, self.keys.state(model, version)
        if one.gone:
            for key in keys.of_version(model, version):
                said.run("DEL", key)
            said.run("HDEL", keys.status, keys.status_field(model, version))
            return
        if one.afresh:
            said.run("DEL", state)
        said.put(state, one.fields)
        said.put(keys.arms(model, version), one.arms)
        said.put(keys.labels(model, version), one.labels)
        history = keys.history(model, version)
        said.push(history, [json.dumps(seen.plain(), allow_nan=False) for seen in one.seen])
        if one.seen:
            said.run("LTRIM", history, str(-MOST_HISTORY), "-1")
        for finding in one.findings:
            found = json.dumps(_finite(finding.plain()), allow_nan=False)
            said.run("XADD", keys.findings, "MAXLEN", "~", str(MOST_FINDINGS), "*", "f", found)
        said.push(keys.learning(model, version), one.to_learn)
        if one.learned:
            said.run("DEL", keys.learning(model, version))
        if one.status is not None:
            status = json.dumps(one.status.plain(), allow_nan=False)
            said.run("HSET", keys.status, keys.status_field(model, version), status)


class _Said:
    """Commands for `fenced.lua`, and the keys that they work on."""

    def __init__(self, *first: str) -> None:
        self._places = {name: at for at, name in enumerate(first, 1)}
        self.words: list[str | bytes] = []

    @property
    def names(self) -> list[str]:
        return list(self._places)

    def run(self, command: str, key: str, *rest: str | bytes) -> None:
        place = self._places.setdefault(key, len(self._places) + 1)
        self.words += [str(len(rest) + 2), command, str(place), *rest]

    def put(self, key: str, fields: Mapping[str, bytes]) -> None:
        """Into a hash, which is kept as long as nothing else is put there."""
        for name, raw in fields.items():
            self.run("HSET", key, name, raw)
        if fields:
            self.run("PEXPIRE", key, str(STATE_KEPT_MS))

    def push(self, key: str, values: Sequence[str | bytes]) -> None:
        """At the end of a list, which is kept as long as a state is."""
        for value in values:
            self.run("RPUSH", key, value)
        if values:
            self.run("PEXPIRE", key, str(STATE_KEPT_MS))


def _labelled(right: Values) -> Labelled:
    """Answers may be right in part: their parts are summed up."""
    return Labelled(right.count, min(max(math.floor(right.count - right.sum), 0), right.count))


_AT_ONCE: Final = 500  # words of one command: Lua's stack has an end


def _in_parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    yield from (ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE))


def _finite(plain: Any) -> Any:  # noqa: ANN401 - whatever JSON takes
    """The same with numbers that JSON has: a detector may answer infinity, and what it found is to be told."""
    if isinstance(plain, float):
        return finite(plain)
    if isinstance(plain, Mapping):
        return {name: _finite(one) for name, one in plain.items()}
    return [_finite(one) for one in plain] if isinstance(plain, list | tuple) else plain


def _entry(said: Sequence[Any]) -> Entry:
    """An id and the fields one after the other; no fields where the entry is gone."""
    entry_id, words = said
    fields = dict(zip(words[::2], words[1::2], strict=True)) if words else {}
    return Entry(entry_id.decode(), fields.get(b"b", b"") if words else None)
