"""Leases in Redis: which gateways and endpoints are alive, how busy they are, and how their servers died.

Part of `serving.control.store`. A lease is a key with an expiry; an index beside it lists those that there may be.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from serving.control.base_store import BaseStore, reply
from serving.control.wishes import ModelVersion
from serving.endpoint import Crash, Endpoint, Load, decode_load, encode_leased
from serving.endpoint import decode as decode_endpoint
from serving.leases import (
    Applied,
    GatewayLease,
    Recovery,
    decode_applied,
    decode_gateway,
    decode_recovery,
    with_figures,
)

_Lease = TypeVar("_Lease")

CRASHES_COUNT_MS = 60 * 60 * 1000
"""How long a crash counts."""
MOST_CRASHES = 100

_FIGURES_AT_ONCE = 10
"""Gateways of which they are read together."""

# Looks once more before it forgets: the lease may have come back since its absence was seen.
_FORGET_LAPSED = """
local gone = 0
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then gone = gone + redis.call('SREM', KEYS[1], ARGV[i - 1]) end
end
return gone
"""


class LeaseStore(BaseStore):
    """Who is alive."""

    async def gateways(self) -> Sequence[GatewayLease]:
        """The gateways whose lease is alive, by id."""
        found = await self._leased(self.keys.gateways, lambda member: self.keys.gateway(member.decode()))
        return sorted(_readable(found, decode_gateway), key=lambda lease: lease.id)

    async def gateways_with_figures(self) -> Sequence[GatewayLease]:
        """The same with what they say for people."""
        return await self.with_figures(await self.gateways())

    async def with_figures(self, leases: Sequence[GatewayLease]) -> Sequence[GatewayLease]:
        """These leases with what their gateways say for people by now; nothing of that where nobody can read it.

        It is much, and decoding takes long: whatever else there is to do comes between one gateway's and the next.
        """
        found = []
        for start in range(0, len(leases), _FIGURES_AT_ONCE):
            some = leases[start : start + _FIGURES_AT_ONCE]
            async with self._boundary():
                said = await reply(self._redis.mget([self.keys.gateway_figures(lease.id) for lease in some]))
            for lease, one in zip(some, said, strict=True):
                found.append(_with_figures(lease, one))
                await asyncio.sleep(0)
        return found

    async def applied(self, ids: Collection[str] | None = None) -> Mapping[str, Applied]:
        """What these gateways go by, or all of them, by id; without those whose lease is not alive.

        A lease is long and this is asked fifty times a second while a change is waited for: it is read only of a
        gateway that leaves nothing readable beside it, as those of an earlier release do.
        """
        async with self._boundary():
            asked = await reply(self._redis.smembers(self.keys.gateways)) if ids is None else ids
            names = sorted(name.decode() if isinstance(name, bytes) else name for name in asked)
            found = await self._said_by(names, self.keys.gateway_applied, decode_applied)
            silent = [name for name in names if name not in found]
            return found | await self._said_by(silent, self.keys.gateway, lambda value: decode_gateway(value).applied)

    async def _said_by(
        self, names: Sequence[str], key_of: Callable[[str], str], decode: Callable[[bytes], _Lease]
    ) -> dict[str, _Lease]:
        """What those say who say something that can be read."""
        values = await reply(self._redis.mget([key_of(name) for name in names])) if names else []
        found: dict[str, _Lease] = {}
        for name, value in zip(names, values, strict=True):
            if value is not None:
                with suppress(ValueError):
                    found[name] = decode(value)
        return found

    async def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints whose lease is alive, by model and version."""
        return [endpoint for endpoint, _ in await self.endpoint_loads()]

    async def endpoint_loads(self) -> Sequence[tuple[Endpoint, Load]]:
        """The same, each with what its replica says of its server."""
        found = await self._leased(self.keys.endpoints, bytes.decode)
        both = _readable(found, lambda value: (decode_endpoint(value), decode_load(value)))
        return sorted(both, key=lambda one: (one[0].model, one[0].version, one[0].host, one[0].http_port))

    async def hold(self, endpoint: Endpoint, ttl_s: float, load: Load | None = None) -> None:
        """Takes or renews an endpoint's lease; gateways hear of it where the endpoint is new."""
        key, value = self.keys.endpoint(endpoint), encode_leased(endpoint, load)
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=True)
            pipe.sadd(self.keys.endpoints, key)
            pipe.set(key, value, px=max(1, round(ttl_s * 1000)), get=True)
            before = (await pipe.execute())[1]
            if before is None or next(iter(_readable([before], decode_endpoint)), None) != endpoint:
                await reply(self._redis.publish(self.keys.endpoint_changes, key))

    async def drop(self, endpoint: Endpoint) -> None:
        """Gives an endpoint's lease back; gateways hear of it at once."""
        key = self.keys.endpoint(endpoint)
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=True)
            pipe.delete(key)
            pipe.srem(self.keys.endpoints, key)
            pipe.publish(self.keys.endpoint_changes, key)
            await pipe.execute()

    async def crashed(self, model: str, version: int, crash: Crash) -> None:
        """Writes down how a server of that version died, at the time of the store's clock."""
        key = self.keys.crashes(model, version)
        plain = {"exit_code": crash.exit_code, "host": crash.host, "words": crash.words, "pool": crash.pool}
        said = json.dumps(plain)
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=True)
            pipe.xadd(key, {"crash": said}, maxlen=MOST_CRASHES, approximate=False)
            pipe.pexpire(key, CRASHES_COUNT_MS)
            await pipe.execute()

    async def crashes(self, model: str, version: int) -> Sequence[Crash]:
        """How servers of that version died in the last hour, newest first, 100 at most."""
        return (await self.crashes_of([(model, version)]))[model, version]

    async def crashes_of(self, versions: Sequence[ModelVersion]) -> Mapping[ModelVersion, Sequence[Crash]]:
        """The same for each of these versions, in two round trips."""
        since = max(0, await self.now_ms() - CRASHES_COUNT_MS)
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=False)
            for version in versions:
                pipe.xrevrange(self.keys.crashes(*version), min=str(since))
            found = await pipe.execute() if versions else []
            return {
                version: [_crash(entry_id.decode(), fields[b"crash"]) for entry_id, fields in entries]
                for version, entries in zip(versions, found, strict=True)
            }

    async def recovery(self, digest: str) -> Recovery | None:
        """What a gateway that runs this digest handed back in full, None where none did."""
        async with self._boundary():
            said = await reply(self._redis.get(self.keys.recovery(digest)))
            return None if said is None else decode_recovery(said)

    async def _leased(self, index: str, key_of: Callable[[bytes], str]) -> list[bytes]:
        """The values of the leases in that index that are alive; the others leave the index."""
        async with self._boundary():
            members = sorted(await reply(self._redis.smembers(index)))
            if not members:
                return []
            keys = [key_of(member) for member in members]
            values = await reply(self._redis.mget(keys))
            lapsed = [pair for *pair, value in zip(members, keys, values, strict=True) if value is None]
            if lapsed:
                names = [index, *(key for _, key in lapsed)]
                await reply(self._redis.eval(_FORGET_LAPSED, len(names), *names, *(member for member, _ in lapsed)))
        return [value for value in values if value is not None]


def _readable(values: Iterable[bytes], decode: Callable[[bytes], _Lease]) -> Iterable[_Lease]:
    # One lease that nobody can read must not hide all the others.
    for value in values:
        with suppress(ValueError):
            yield decode(value)


def _with_figures(lease: GatewayLease, said: bytes | None) -> GatewayLease:
    with suppress(ValueError):
        return lease if said is None else with_figures(lease, said)
    return lease


def _crash(entry_id: str, said: bytes) -> Crash:
    plain = json.loads(said)
    at_ms = int(entry_id.partition("-")[0])
    return Crash(at_ms, plain["exit_code"], plain["host"], plain["words"], plain.get("pool", ""))
