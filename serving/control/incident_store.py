"""Episodes of models' drift in Redis, and which models an operator has silenced. Part of `serving.control.store`.

Here they are read; they are only ever moved by `publish.lua`, with what the ledger says of it and who is to be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from drift.incidents import Incident, Word
from serving.control.base_store import BaseStore, reply
from serving.control.errors import StoreDamaged
from serving.control.incident_form import incident_from, word_from

_MOST_LISTED: Final = 200


class IncidentStore(BaseStore):
    """What is known of episodes."""

    async def open_incidents(self) -> Mapping[str, Incident]:
        """Those that are not over, by model; one that nobody can read is left out."""
        async with self._boundary():
            found = await reply(self._redis.hgetall(self.keys.open_incidents))
        return {one.model: one for one in await self._incidents([said.decode() for said in found.values()])}

    async def lost_incidents(self) -> Mapping[str, str]:
        """Ids of those that are not over, and that nobody can read, by model."""
        async with self._boundary():
            found = await reply(self._redis.hgetall(self.keys.open_incidents))
        known = {one.identity for one in await self._incidents([said.decode() for said in found.values()])}
        return {model.decode(): one.decode() for model, one in found.items() if one.decode() not in known}

    async def incident(self, incident_id: str) -> Incident | None:
        """The one of that id; None where there is none.

        Raises:
            StoreDamaged: nobody can read it.
        """
        async with self._boundary():
            said = await reply(self._redis.hget(self.keys.incident(incident_id), "record"))
        if said is None:
            return None
        found = incident_from(said)
        if found is None:
            raise StoreDamaged(
                f"The record of the episode {incident_id} cannot be read.", "It is of another release than this one."
            )
        return found

    async def incidents(self, limit: int) -> Sequence[Incident]:
        """The newest, newest first; those that nobody can read are left out."""
        async with self._boundary():
            count = max(1, min(limit, _MOST_LISTED))
            ids = await reply(self._redis.zrevrange(self.keys.incidents, 0, count - 1))
        return await self._incidents([one.decode() for one in ids])

    async def silences(self) -> Mapping[str, Word]:
        """What operators said of models whose drift nobody is to hear of, also where it holds no longer."""
        async with self._boundary():
            found = await reply(self._redis.hgetall(self.keys.silences))
        said = {model.decode(): word_from(word) for model, word in found.items()}
        return {model: word for model, word in said.items() if word is not None}

    async def _incidents(self, ids: Sequence[str]) -> Sequence[Incident]:
        if not ids:
            return []
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=False)
            for one in ids:
                pipe.hget(self.keys.incident(one), "record")
            found = await pipe.execute()
        return [one for one in map(incident_from, found) if one is not None]
