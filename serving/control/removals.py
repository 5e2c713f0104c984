"""Removing: nobody wants a version's servers any more, and they are drained and gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.lifecycle import Event
from serving.control.asked import Asked, version_of
from serving.control.errors import InUse, Unknown
from serving.control.operations import Operation, Tell
from serving.control.standing import Standing
from serving.control.wishes import ModelVersion, Wish


class Removals:
    """Takes servers away, for one installation.

    Args:
        standing: how versions stand, and where that is written; what the settings declare only sleeps.
        asked: moves registered versions.
    """

    def __init__(self, standing: Standing, asked: Asked) -> None:
        self._standing = standing
        self._store = standing.store
        self._declared = standing.declared
        self._asked = asked

    async def check_remove(self, operation: Operation) -> None:
        """Refuses while it is in use, and where there is nothing to remove.

        Raises:
            InUse: a policy gives it traffic, or it is stable.
            Unknown: it has no servers.
        """
        key = version_of(operation)
        await self._standing.refuse_routed(key)
        if not await self._standing.runs(key):
            raise Unknown(f"{key[0]} version {key[1]} is not deployed.", "GET /status shows what is.")

    async def remove(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """Takes the wish away, and waits until the servers are drained and gone.

        Raises:
            InUse: a policy gives it traffic, or it is stable.
        """
        key = version_of(operation)
        await tell(f"draining {key[0]} version {key[1]}")
        await self.end(key, operation)
        return {"model": key[0], "version": key[1], "asleep": key in self._declared}

    async def withdraw(self, operation: Operation, _tell: Tell) -> Mapping[str, Any]:
        """A removal that was broken off: where the wish is gone already, the version serves no more."""
        key = version_of(operation)
        if not await self._standing.is_wanted(key):
            await self._asked.move(key, Event.WITHDRAW, operation)
        return {}

    async def end(self, key: ModelVersion, operation: Operation) -> None:
        """Nobody wants the version's servers any more, and they are gone. What the settings declare only sleeps."""
        await self._standing.refuse_routed(key)
        taken: Wish | None = None
        while (wish := await self._store.wish(*key)) is not None:
            if await self._store.take_wish(wish, who=operation.who, why=operation.why or str(operation)):
                taken = wish
                break

        async def look() -> None:
            try:
                await self._standing.refuse_routed(key)
            except InUse:
                # Somebody has given it traffic in this moment, and is right: a pool with traffic is not taken away.
                if taken is not None:
                    await self._store.put_wish(Wish(taken.spec), who=operation.who, why="it has got traffic meanwhile")
                raise
            if key in self._declared:
                await self._store.put_to_sleep(*key)

        await self._standing.until_gone(lambda pool: pool[:2] == key, look)
        if key not in self._declared:
            await self._asked.move(key, Event.WITHDRAW, operation)
