"""Requests that do not stop, a client for each gateway, each answer noted with its time, version and epoch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field

from tests.serving.gateway.rig import Client
from tests.serving.gateway.wire import post

_PAUSE_S = 0.005


@dataclass(frozen=True)
class Answered:
    """One request: the gateway that was asked, when it was sent (the loop's seconds), and what came of it.

    Of what was no 200 it is noted what the gateway said.
    """

    gateway: str
    sent_s: float
    status: int
    version: int
    epoch: int
    said: bytes = b""


@dataclass
class Steady:
    """What the clients got so far."""

    answers: list[Answered] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[object]:
        """Whatever was no 200."""
        return [*self.lost, *(one for one in self.answers if one.status != 200)]

    def since(self, moment_s: float, until_s: float = float("inf")) -> list[Answered]:
        """What was sent from one moment to the other, by the loop's clock."""
        return [one for one in self.answers if moment_s <= one.sent_s < until_s]


@contextlib.asynccontextmanager
async def steadily(ports: Mapping[str, int]) -> AsyncIterator[Steady]:
    """Requests for another unit each, until the block ends.

    Args:
        ports: where the gateways listen, by their ids.
    """
    steady, over = Steady(), asyncio.Event()
    tasks = [asyncio.create_task(_beat(name, port, steady, over)) for name, port in ports.items()]
    try:
        yield steady
    finally:
        over.set()
        await asyncio.gather(*tasks)


def asking(unit: str) -> bytes:
    """A request for that unit."""
    return post(headers=[f"sluice-unit: {unit}"])


async def noted(client: Client, gateway: str, sent_s: float) -> Answered:
    """The next answer of the connection."""
    answer = await client.answer()
    version, epoch = (int(answer.one(name) or b"0") for name in ("sluice-version", "sluice-epoch"))
    return Answered(gateway, sent_s, answer.code, version, epoch, b"" if answer.code == 200 else answer.body)


def versions(answers: Iterable[Answered]) -> set[int]:
    """Those that answered."""
    return {one.version for one in answers}


async def _beat(name: str, port: int, steady: Steady, over: asyncio.Event) -> None:
    client, count, loop = await Client.connect(port), 0, asyncio.get_running_loop()
    while not over.is_set():
        count += 1
        sent_s = loop.time()
        try:
            await client.send(asking(f"{name}-{count}"))
            steady.answers.append(await noted(client, name, sent_s))
        except (OSError, AssertionError, TimeoutError) as error:
            steady.lost.append(f"{name}: {error!r}")
            client.close()
            client = await Client.connect(port)
        await asyncio.sleep(_PAUSE_S)
    client.close()
