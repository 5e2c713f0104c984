"""Work on artifacts and calls to Serve do not wait for each other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from registry.artifacts import ArtifactStore
from registry.kinds import ArtifactKind
from registry.models import Artifact
from registry.service import Registry
from serving.control.bringing import Bringing
from serving.control.registration import Asked
from serving.control.threads import MOST, on_artifacts

ARTIFACT = Artifact(ArtifactKind.TORCH_EXPORT, "a" * 64, 1)


class Copies:
    """An artifact store whose copies last until they are let go."""

    def __init__(self, goes: threading.Event) -> None:
        self._goes = goes

    def bring(self, *_args: object, **_named: object) -> Artifact:
        """Brought when it is let go."""
        self._goes.wait(20)
        return ARTIFACT


@pytest.fixture
def goes() -> Iterator[threading.Event]:
    """Set when the test is over, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


async def tell(_words: str, /, **_known: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Nobody hears of it."""


async def test_copies_take_no_thread_of_the_calls_to_serve(goes: threading.Event) -> None:
    """Serve gives the control room five; eight registrations copy at once."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(5))
    bringing = Bringing(cast("Registry", None), cast("ArtifactStore", Copies(goes)))
    copies = [asyncio.create_task(bringing.brought(Asked("/a", {}), tell)) for _ in range(8)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        assert await asyncio.to_thread(lambda: "Serve's states") == "Serve's states"
        assert await on_artifacts(lambda: "looked at") == "looked at"
    goes.set()
    assert await asyncio.gather(*copies) == [ARTIFACT] * 8


async def test_there_are_so_many_threads_and_no_more(goes: threading.Event) -> None:
    """What finds none waits."""
    begun = threading.Semaphore(0)

    def works() -> None:
        begun.release()
        goes.wait(20)

    work = [on_artifacts(works) for _ in range(MOST + 3)]
    await asyncio.sleep(0.2)
    assert [begun.acquire(blocking=False) for _ in range(MOST + 1)] == [True] * MOST + [False]
    goes.set()
    await asyncio.gather(*work)
