"""A control room that walks rollouts, on a real Valkey, in a thread of this process; nobody serves predictions."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from drift.settings import DriftSettings
from registry.baselines import Baselines
from registry.store import connect as connect_registry
from router.policy import Policy
from serving.control.api import create_app
from serving.control.api.desk import Desk
from serving.control.feedback import Feedback
from serving.control.rolling.feed import Feed
from serving.control.rolling.rolling import Rolling
from serving.control.rolling.standing import StandingHooks
from serving.control.service import ControlService
from serving.control.store import Store, connect
from serving.control.tasks import end
from serving.control.watched import Drift
from serving.endpoint import Endpoint
from serving.sockets import open_listener

MODEL = "digits"
_HELD_S = 600


@dataclass(frozen=True)
class RollingRoom:
    """Where it is reached, and what its keys begin with."""

    address: str
    url: str
    namespace: str

    def runs(self) -> Policy:
        """What the model runs."""

        async def read() -> Policy:
            store = connect(self.url, self.namespace)
            try:
                return await store.policy((await store.state()).snapshot.models[MODEL].digest)
            finally:
                await store.close()

        return asyncio.run(read())


@contextmanager
def rolling_room(
    url: str,
    namespace: str,
    *,
    hooks: StandingHooks | None = None,
    trusted: Sequence[str] = (),
    drift: DriftSettings | None = None,
) -> Iterator[RollingRoom]:
    """A control room whose model has three versions that are up, and gives the first all of its traffic.

    Args:
        url: of the Valkey.
        namespace: what its keys begin with.
        hooks: that hear of drift; of the model `demo`, too, version 1 is known.
        trusted: origins that may be plain and private.
        drift: of the settings.
    """
    listener = open_listener("127.0.0.1", 0, "The room's listener", "none")
    running: list[uvicorn.Server] = []
    begun = threading.Event()

    async def serve() -> None:
        store = connect(url, namespace)
        await _with_versions(store)
        service = ControlService(store, {})
        rolling = Rolling(store, service.traffic, hooks=hooks, trusted=trusted, drift=drift)
        registry = connect_registry(url, namespace)
        watched = Drift(store, Baselines(registry), {MODEL: (1, 2, 3), "demo": (1,)})
        desk = Desk(
            rolling.rollouts, Feed(store), store, store, Feedback(store, {}), watched, rolling.episodes
        )  # fmt: skip
        app = create_app(service, desk=desk)
        running.append(uvicorn.Server(uvicorn.Config(app, log_level="error")))
        walking = asyncio.create_task(rolling.loops.run())
        begun.set()
        try:
            await running[0].serve(sockets=[listener])
        finally:
            await end([walking])
            await store.close()
            await registry.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="rolling-room")
    thread.start()
    try:
        assert begun.wait(timeout=20), "the room did not start"
        yield RollingRoom(f"http://127.0.0.1:{listener.getsockname()[1]}", url, namespace)
    finally:
        for server in running:
            server.should_exit = True
        thread.join(timeout=20)
        listener.close()


async def _with_versions(store: Store) -> None:
    for version in (1, 2, 3):
        await store.hold(
            Endpoint(host="127.0.0.1", http_port=9_000, grpc_port=0, model=MODEL, version=version), _HELD_S
        )
    await store.change(MODEL, Policy(stable=1), 0, who="the test")
