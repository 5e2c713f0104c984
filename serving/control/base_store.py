"""What the parts of the control room's store in Redis share: one connection, one set of keys, one kind of errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from registry.redis_store import ANSWER_KEPT_MS, Errors, RedisStore, reply
from serving.control.errors import Deposed, StoreDamaged, StoreUnavailable, StoreUnsuitable
from serving.errors import SluiceError
from serving.store_keys import Keys

__all__ = ["ANSWER_KEPT_MS", "BaseStore", "reply"]

# Whoever leads by now has a later fence: what a deposed conductor still has in hand is refused where it would be
# written, whatever it believes.
_FENCED = """
if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then return false end
"""

_ERRORS = Errors(
    misaddressed=SluiceError,
    unsuitable=StoreUnsuitable,
    unavailable=StoreUnavailable,
    damaged=StoreDamaged,
    meanwhile="Gateways go on with the policy that they run; changes have to wait until it is back.",
    kept="policies",
)


class BaseStore(RedisStore):
    """One installation's keys on one Redis server.

    Args:
        url: the server's.
        keys: what they are called.
        timeout_s: how long one command may take.
    """

    def __init__(self, url: str, keys: Keys, timeout_s: float) -> None:
        super().__init__(url, _ERRORS, timeout_s)
        self.keys = keys

    async def _as_leader(self, fence: int, script: str, keys: Sequence[str], said: Sequence[str]) -> None:
        """Runs the script if the conductor of that fence leads still.

        Args:
            fence: which it shows.
            script: what it writes; it answers with 1. The fence has the first of KEYS and of ARGV.
            keys: KEYS from the second on.
            said: ARGV from the second on.

        Raises:
            Deposed: another conductor has taken over.
        """
        names = [self.keys.fence, *keys]
        async with self._boundary():
            done: Any = await reply(self._redis.eval(_FENCED + script, len(names), *names, str(fence), *said))
        if done is None:
            raise Deposed

    async def now_ms(self) -> int:
        """The server's time, milliseconds since 1970."""
        async with self._boundary():
            seconds, micros = await reply(self._redis.time())
            return int(seconds) * 1000 + int(micros) // 1000
