"""What one key may use up on the prediction port: requests per second, requests in flight, bytes of a body.

The first two are shared by all workers of all gateways, through one script in the store (`limits.lua`), and no request
waits for the store: a worker spends from a reserve of tokens that it fetches in batches, while the key is in use, every
`SYNC_S` and as soon as the reserve is low; what is left it gives back when the key falls silent. Where the reserve is
spent it goes into debt by at most one batch, so that the first request is not refused, and pays that first.

**The bound.** In any time t, W workers admit no more than ``rate * t + bucket + W * batch`` requests of one key from
its first request on: the store hands out at most ``rate * t + bucket``, and a worker admits what it was handed and a
debt of at most one batch. A batch is the bucket divided by the number of workers, at least 1, so the whole is at most
two buckets and W requests above the rate, however long it lasts. A bucket holds at least what comes in between two
syncs (`LEAST_BUCKET_S`): shorter bursts are not told apart. While the store is away each worker goes on alone with
``rate / workers`` and ``bucket / workers``, so each outage may add one bucket.

**In flight** a worker counts its own at once and those of others as they were at its last sync: requests that others
took since then, `SYNC_S` and a round trip at most, are not seen, so that at worst each of W workers fills the whole
limit in that moment; it admits no more until the sum has fallen below.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from serving.access.principal import Limits, Principal
from serving.errors import Refusal
from serving.gateway.request import Bad

_log = logging.getLogger(__name__)
SCRIPT: Final = Path(__file__).with_name("limits.lua").read_text(encoding="utf-8")
SYNC_S: Final = 0.1
LEAST_PAUSE_S: Final = 0.01
"""Between two syncs, however low a reserve is."""
FRESH_MS: Final = 1_000
"""For how long what a worker said of its requests in flight counts; a dead one's are forgotten then."""
LEAST_BUCKET_S: Final = 2 * SYNC_S
_TRIES_AGAIN_S: Final = 1.0
_LITTLE: Final = 1e-3
_LONGEST_WAIT_S: Final = 86_400
"""That a client is told to wait."""


class Ask(NamedTuple):
    """What a worker asks the store about one key: the script's arguments."""

    key_id: str
    want: float
    """Tokens; below 0 they are given back."""
    rate_per_s: float
    bucket: float
    in_flight: int


class Told(NamedTuple):
    """What the store says about it."""

    granted: float
    elsewhere: int
    """Requests in flight at other workers."""


Settle = Callable[[Sequence[Ask]], Awaitable[Sequence[Told]]]
"""Asks the store, one answer for each; raises OSError where it cannot be asked."""


class Meter:
    """One key's use in this worker. Now is seconds of the loop's clock.

    Args:
        key_id: names it.
        limits: what it may use up.
        shared: what all meters of this worker share.
    """

    __slots__ = (
        "_alone_at", "_entered", "_least", "_places", "_price", "_room", "_shared", "active", "batch", "bucket",
        "in_flight", "in_flight_limited", "key_id", "limits", "rate_limited", "rate_per_s", "reserve", "too_large",
    )  # fmt: skip

    def __init__(self, key_id: str, limits: Limits, shared: Shared) -> None:
        self.key_id = key_id
        self.limits = limits
        self.rate_per_s = limits.rate_per_s or 0.0
        """Tokens per second; 0 where there is no such limit."""
        self.bucket = max(limits.bucket, self.rate_per_s * LEAST_BUCKET_S)
        """The most that the store holds for this key."""
        self.batch = 0.0
        """The most that is in hand here, and the most that may be owed."""
        self.reserve = 0.0
        """Tokens in hand; below 0 it is a debt."""
        self.in_flight = 0
        self.active = False
        """Whether the store is to be asked about it."""
        self.rate_limited = self.in_flight_limited = self.too_large = 0
        """How many requests were refused, and for what."""
        self._shared = shared
        self._entered = False
        self._alone_at: float | None = None  # since when it has had to go on alone, or when it last refilled itself
        self._price = 0 if limits.rate_per_s is None else 1  # of a request, tokens
        self._least = 0.0  # in hand, for a request to come in
        self._places = math.inf if limits.in_flight is None else float(limits.in_flight)
        self._room = self._places  # of them for this worker
        self._divide()

    def enter(self) -> Bad | None:
        """Counts a request in; why it may not come in, if not."""
        self._entered = True
        if not self.active and self._alone_at is None:  # what others had in flight is not known any more
            self._room = self._places
        if not self.active or self.reserve < self._price:
            self.active = True
            self._shared.hurry.set()
        if self.in_flight >= self._room:
            return self._too_many()
        if self.reserve < self._least:
            return self._too_fast()
        self.reserve -= self._price
        self.in_flight += 1
        return None

    def spend(self) -> Bad | None:
        """One more message of a request that is in already; why it may not come, if not."""
        bad = self.enter()
        if bad is None:
            self.in_flight -= 1
        return bad

    def leave(self) -> None:
        """Counts it out."""
        self.in_flight -= 1

    def too_long(self, length: int | None) -> Bad | None:
        """Why a body of this length may not come, if not; None is a length that is not known yet."""
        most = self.limits.max_body
        if most is None or length is None or length <= most:
            return None
        self.too_large += 1
        return Bad(Refusal.TOO_LARGE, f"The body has {length} bytes, this key sends {most} at most.")

    # The store's side.

    def ask(self) -> Ask:
        """What to ask the store now; what is given back is no longer in hand."""
        self._divide()
        in_use = self._entered or self.in_flight > 0
        self._entered = False
        want = (self.batch if in_use else 0.0) - self.reserve
        if not self._price:
            want = 0.0
        elif want < 0:
            self.reserve += want
        return Ask(self.key_id, want, self.rate_per_s, self.bucket, self.in_flight)

    def take(self, told: Told) -> None:
        """The store's answer."""
        self._alone_at = None
        self.reserve += max(0.0, told.granted)
        if self.limits.in_flight is not None:
            self._room = float(self.limits.in_flight - told.elsewhere)
        # Where others have all places it goes on asking, for a no has to be of now.
        in_use = self._entered or self.in_flight > 0 or self._room <= 0
        self.active = in_use or abs(self.reserve) > _LITTLE

    def go_alone(self, now: float) -> None:
        """The store does not answer: this worker's share, by its own clock."""
        workers = self._shared.workers
        if self.limits.in_flight is not None:
            self._room = float(max(1, self.limits.in_flight // workers))
        if self._alone_at is not None and self._price:
            came = self.rate_per_s / workers * (now - self._alone_at)
            self.reserve = max(self.reserve, min(self.bucket / workers, self.reserve + came))
        self._alone_at = now

    def come_back(self) -> None:
        """The store answers again: to a worker's share nobody is held any more."""
        self._alone_at = None
        self._room = self._places

    def _divide(self) -> None:
        """This worker's part of the bucket, by how many workers there are now."""
        self.batch = float(max(1, math.ceil(self.bucket / self._shared.workers)))
        self._least = self._price - self.batch

    # What is refused.

    def _too_many(self) -> Bad:
        self.in_flight_limited += 1
        most = self.limits.in_flight
        return Bad(Refusal.RATE_LIMITED, f"This key may have {most} requests in flight: await their answers.")

    def _too_fast(self) -> Bad:
        self.rate_limited += 1
        rate, missing = self.rate_per_s, self._least - self.reserve
        return Bad(
            Refusal.RATE_LIMITED, f"This key may send {rate:g} requests per second.",
            retry_after_s=max(1, math.ceil(min(missing / rate, _LONGEST_WAIT_S))),
        )  # fmt: skip


class Shared:
    """What the meters of one worker share."""

    def __init__(self) -> None:
        self.workers = 1
        """How many there are in all gateways."""
        self.hurry = asyncio.Event()
        """Set when the store is to be asked soon."""


class Meters:
    """All meters of one worker, and their talk with the store."""

    def __init__(self) -> None:
        self.shared = Shared()
        self._meters: dict[str, Meter] = {}

    def of(self, who: Principal) -> Meter:
        """The meter of somebody who has limits."""
        meter = self._meters.get(who.id)
        if meter is None or meter.limits is not who.limits:  # to compare them costs each request more
            meter = self._meters[who.id] = self._renewed(meter, who)
        return meter

    def _renewed(self, meter: Meter | None, who: Principal) -> Meter:
        if meter is None or meter.limits != who.limits:
            return Meter(who.id, who.limits, self.shared)
        meter.limits = who.limits
        return meter

    def keep(self, key_ids: Collection[str]) -> None:
        """Forgets the meters of all other keys: they are gone."""
        self._meters = {name: meter for name, meter in self._meters.items() if name in key_ids}

    def report(self) -> list[dict[str, object]]:
        """What was refused, by key."""
        return [
            {
                "key": one.key_id, "rate_limited": one.rate_limited, "in_flight_limited": one.in_flight_limited,
                "too_large": one.too_large,
            }
            for one in self._meters.values()
        ]  # fmt: skip

    async def run(self, settle: Settle) -> None:
        """Talks with the store for as long as there is something to say, until cancelled."""
        now, hurry = asyncio.get_running_loop().time, self.shared.hurry
        asks_from = -math.inf
        while True:
            await hurry.wait()
            hurry.clear()
            if now() >= asks_from:
                asks_from = await self._asked(settle, asks_from, now)
            if now() < asks_from:
                self._go_alone(now())
            await asyncio.sleep(LEAST_PAUSE_S)
            if any(meter.active for meter in self._meters.values()):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SYNC_S - LEAST_PAUSE_S):
                        await hurry.wait()
                hurry.set()

    async def _asked(self, settle: Settle, asks_from: float, now: Callable[[], float]) -> float:
        """Asks the store; from when on it is to be asked again."""
        if not await self.sync(settle):
            return now() + _TRIES_AGAIN_S
        if asks_from > -math.inf:
            for meter in self._meters.values():
                if not meter.active:  # the others have just been told
                    meter.come_back()
        return -math.inf

    async def sync(self, settle: Settle) -> bool:
        """Asks the store once about every key in use; whether it answered."""
        meters = [meter for meter in self._meters.values() if meter.active]
        try:
            answers = await settle([meter.ask() for meter in meters]) if meters else ()
            for meter, told in zip(meters, answers, strict=True):
                meter.take(told)
        except OSError:
            return False
        except Exception:  # noqa: BLE001 (what keys use up goes on being counted, if by this worker alone)
            _log.exception("the store's answer about limits cannot be used")
            return False
        return True

    def _go_alone(self, now: float) -> None:
        for meter in self._meters.values():
            meter.go_alone(now)
