"""Rows of episodes of drift in Redis: what the sidecar captured of them. Part of `serving.control.store`.

Captured samples give way to newer ones; those of an episode that somebody is to act on are put aside, by the server
itself, for as long as a target may be away. Only so many episodes' are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from drift.keys import CAPTURED_KEPT_MS, DriftKeys
from serving.control.base_store import BaseStore, reply

MOST_WINDOWS: Final = 16
"""Episodes whose samples are kept; the oldest make room."""

_AT_ONCE: Final = 200
_SLACK_S: Final = 300.0
"""What was captured so much before the first row is not put aside: a sample is captured after it was answered."""

# KEYS  1 captured samples; 2 the window; 3 windows by time; 4 what is said of them.
# ARGV  1 the episode; 2 what is said of it; 3 the first id that belongs to it; 4 how many windows are kept; 5 for how
#       long, milliseconds; 6 what names of windows begin with.
_KEEP_WINDOW = """
if redis.call('HGET', KEYS[4], ARGV[1]) == ARGV[2] then return 0 end
redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 0 and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('COPY', KEYS[1], KEYS[2])
  redis.call('XTRIM', KEYS[2], 'MINID', ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[3], 'NX', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), ARGV[1])
while redis.call('ZCARD', KEYS[3]) > tonumber(ARGV[4]) do
  local oldest = redis.call('ZPOPMIN', KEYS[3])[1]
  redis.call('HDEL', KEYS[4], oldest)
  redis.call('UNLINK', ARGV[6] .. oldest)
end
return 1
"""


@dataclass(frozen=True, slots=True)
class WindowAbout:
    """What is said of an episode's window.

    Attributes:
        model: whose.
        from_s: when its first row was answered, seconds since 1970.
        to_s: when it ended; None while it lasts.
    """

    model: str
    from_s: float
    to_s: float | None = None

    def encode(self) -> str:
        """As the store has it."""
        return json.dumps([self.model, self.from_s, self.to_s])


class WindowStore(BaseStore):
    """What was captured."""

    async def keep_window(self, episode: str, about: WindowAbout) -> None:
        """Puts aside what is captured of the model since then, if that was not done before."""
        keys = self._names
        names = [keys.captured(about.model), keys.window(episode), keys.windows, keys.windows_about]
        first = str(max(round((about.from_s - _SLACK_S) * 1000), 0))
        said = [episode, about.encode(), first, str(MOST_WINDOWS), str(CAPTURED_KEPT_MS), keys.window("")]
        async with self._boundary():
            await reply(self._redis.eval(_KEEP_WINDOW, len(names), *names, *said))

    async def window_about(self, episode: str) -> WindowAbout | None:
        """What is said of that episode's window; None where none is kept."""
        async with self._boundary():
            said = await reply(self._redis.hget(self._names.windows_about, episode))
        return None if said is None else _about(said)

    async def window_blobs(self, episode: str, model: str) -> Sequence[bytes]:
        """The batches that were put aside, and those that were captured since, in their order; some may be in both."""
        found: list[bytes] = []
        for name in (self._names.window(episode), self._names.captured(model)):
            begin = "-"
            while True:
                async with self._boundary():
                    page = await reply(self._redis.xrange(name, min=begin, count=_AT_ONCE))
                found += _blobs(page)
                if len(page) < _AT_ONCE:
                    break
                begin = f"({page[-1][0].decode()}"
        return found

    @property
    def _names(self) -> DriftKeys:
        return DriftKeys(self.keys.namespace)


def _about(said: bytes) -> WindowAbout | None:
    try:
        model, from_s, to_s = json.loads(said)
        return WindowAbout(str(model), float(from_s), None if to_s is None else float(to_s))
    except (ValueError, TypeError):
        return None


def _blobs(page: Any) -> Iterator[bytes]:  # noqa: ANN401 - redis-py's
    return (fields[b"b"] for _, fields in page if b"b" in fields)
