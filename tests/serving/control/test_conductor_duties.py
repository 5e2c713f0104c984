"""What else the control room does once a tick."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from serving.control.conductor import Conductor
from serving.control.fake_pools import FakePools
from serving.control.fake_store import FakeStore
from serving.control.service import ControlService, declared_in
from serving.endpoint import Endpoint


async def test_a_duty_that_is_handed_over_is_done_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    """One that fails is told once, tried again, and holds up nobody."""
    store = FakeStore()
    done: list[str] = []
    enough = asyncio.Event()

    async def works() -> bool:
        done.append("works")
        if done.count("works") > 2 and done.count("fails") > 2:
            enough.set()
        return True

    async def fails() -> None:
        done.append("fails")
        raise RuntimeError("out of order")

    async def alive(endpoint: Endpoint) -> bool:
        return True

    conductor = Conductor(
        ControlService(store, declared_in(())), store, FakePools(store), (),
        probe=alive, duties=[("failing", fails), ("working", works)], lease_s=0.03,
    )  # fmt: skip
    running = asyncio.create_task(conductor.run())
    try:
        await asyncio.wait_for(enough.wait(), 30)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert len([message for message in caplog.messages if message.startswith("failing:")]) == 1
