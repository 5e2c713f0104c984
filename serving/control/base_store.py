"""What the parts of the control room's store in Redis share: one connection, one set of keys, one kind of errors."""

from __future__ import annotations

from registry.redis_store import ANSWER_KEPT_MS, Errors, RedisStore, reply
from serving.control.errors import StoreDamaged, StoreUnavailable, StoreUnsuitable
from serving.errors import SluiceError
from serving.store_keys import Keys

__all__ = ["ANSWER_KEPT_MS", "BaseStore", "reply"]

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

    async def now_ms(self) -> int:
        """The server's time, milliseconds since 1970."""
        async with self._boundary():
            seconds, micros = await reply(self._redis.time())
            return int(seconds) * 1000 + int(micros) // 1000
