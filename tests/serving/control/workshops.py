"""The whole control API on a real Valkey and real folders; only the servers that try versions out are not there."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from registry.artifacts import ArtifactStore
from registry.baselines import Baselines
from registry.roots import Roots
from registry.service import Registry
from registry.store import connect as connect_registry
from serving.access.security_log import SecurityLog
from serving.control.access_changes import AccessChange
from serving.control.api import Workshop, create_app
from serving.control.api.desk import Desk
from serving.control.api.gate import Door
from serving.control.conductor import Conductor, declared_pools
from serving.control.deploying import Deployments
from serving.control.doorman import Doorman
from serving.control.fake_pools import FakePools
from serving.control.feedback import Feedback
from serving.control.importing.performing import Importer
from serving.control.keys import KeyService
from serving.control.operations import Operations, Performer
from serving.control.publishing import LedgerEntry
from serving.control.registering import Registrar
from serving.control.rolling.feed import Feed
from serving.control.rolling.rolling import Rolling
from serving.control.service import ControlService, declared_in
from serving.control.store import Store, connect
from serving.control.usage import Routable, usage
from serving.control.watched import Drift
from serving.endpoint import Endpoint
from serving.errors import StartFailed
from serving.pools import PoolSpec, Tried
from serving.settings import ModelSettings, Settings
from serving.triton.inspecting import signature_in
from serving.triton.layout import ModelVersion, config_text
from tests.serving.access.credentials import Credentials

SIGNATURE: dict[str, Any] = {
    "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [64]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [10]}],
}
NARROW: dict[str, Any] = {**SIGNATURE, "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [32]}]}
BASE = "/api/v1/registry/models/digits"


@dataclass
class Trials:
    """Where versions are tried: it loads what is registered, and says what a server would."""

    artifacts: ArtifactStore
    scratch: Path
    tried: list[PoolSpec] = field(default_factory=list)
    refusal: str = ""
    """While this is something, no version answers."""
    gate: asyncio.Event | None = None
    """While this is there and not set, no trial ends."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once something is tried."""

    @property
    def closed(self) -> Path:
        """While this file is there, no trial ends, whichever process runs it."""
        return self.scratch / "closed"

    @property
    def refused(self) -> Path:
        """While this file is there, no version answers, with what is in it as the reason."""
        return self.scratch / "refused"

    async def try_out(self, spec: PoolSpec, tell: Callable[[str], None]) -> Tried:
        """Loads every byte, tells what a trial tells, and has it answered or not."""
        folder = self.scratch / secrets.token_hex(4)
        await asyncio.to_thread(self.artifacts.load, spec.artifact, folder)
        self.tried.append(spec)
        tell("the model loads")
        self.begun.set()
        if self.gate is not None:
            await self.gate.wait()
        while self.closed.exists():  # noqa: ASYNC110 - another process opens it
            await asyncio.sleep(0.02)
        if self.refused.exists():
            self.refusal = self.refused.read_text()
        if self.refusal:
            raise StartFailed(f"{spec} did not start: {self.refusal}.")
        version = ModelVersion(spec.model, spec.version, folder, spec.options, kind=spec.kind, signature=spec.signature)
        return Tried((), (), config_text(version), 1.25, 800.0)


@dataclass
class Room:
    """A control room, and a client of its API."""

    http: httpx.AsyncClient
    app: FastAPI
    service: ControlService
    workshop: Workshop
    store: Store
    trials: Trials
    registrar: Registrar
    sources: Path
    kept: Path

    def artifact(
        self, name: str = "a", *, content: bytes = b"program", signature: Mapping[str, Any] = SIGNATURE
    ) -> Path:
        """A folder with a torch program in it, as far as anybody can tell who does not load it."""
        folder = self.sources / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.pt2").write_bytes(content)
        (folder / "signature.json").write_text(json.dumps(signature))
        return folder

    async def register(self, source: Path | str, wait_s: float = 20, **more: Any) -> httpx.Response:  # noqa: ANN401
        """Registers what lies there as a version of digits."""
        body = {"source": str(source), **more}
        return await self.http.post(f"{BASE}/versions", json=body, params={"wait_s": wait_s}, timeout=60)

    async def registered(self, name: str = "a", **more: Any) -> int:  # noqa: ANN401
        """The number of a version that is registered."""
        response = await self.register(self.artifact(name, content=name.encode()), **more)
        assert response.status_code == 201, response.text
        return int(response.json()["result"]["version"])

    def digests(self) -> list[str]:
        """The artifacts that are kept."""
        return sorted(path.name for path in self.kept.iterdir() if not path.name.startswith("."))

    async def policy(self, stable: int, **shares: int) -> httpx.Response:
        """Has all of digits answered by these versions, ready or not."""
        arms = [{"version": int(name.removeprefix("v")), "share_ppm": share} for name, share in shares.items()]
        return await self.http.put(
            "/api/v1/models/digits/policy",
            json={"policy": {"stable": stable, "arms": arms}},
            params={"wait_s": 0, "force": "true"},
            headers={"If-Match": "*"},
        )

    async def ready(self, *versions: int) -> None:
        """Endpoints of these versions of digits answer."""
        for version in versions:
            endpoint = Endpoint(
                host="127.0.0.1", http_port=9_000 + version, grpc_port=0, model="digits", version=version
            )
            await self.store.hold(endpoint, 600)


@asynccontextmanager
async def room(
    url: str,
    folder: Path,
    *,
    namespace: str = "",
    models: tuple[ModelSettings, ...] = (),
    credentials: Credentials | None = None,
) -> AsyncIterator[Room]:
    """A control room on that Valkey, with its files below the folder.

    Args:
        url: of the Valkey.
        folder: where sources, artifacts and scratch lie.
        namespace: what its keys begin with; empty for one of its own.
        models: what the settings declare.
        credentials: whoever is let in; without them everybody is.
    """
    name = namespace or f"test-{secrets.token_hex(6)}"
    sources, kept, scratch = (folder / part for part in ("sources", "artifacts", "scratch"))
    for place in (sources, kept, scratch):
        place.mkdir(parents=True, exist_ok=True)
    store, registry_store = connect(url, name), connect_registry(url, name)
    artifacts = ArtifactStore(str(kept), Roots.of([str(sources)]))
    service = ControlService(store, declared_in(models))
    uses = usage(service)
    registry = Registry(registry_store, uses)
    service.routable = Routable(registry)
    trials = Trials(artifacts, scratch)
    registrar = Registrar(registry, artifacts, trials, service, models)
    pools = FakePools(store, at_once=True)
    deployments = Deployments(service, store, pools, registry, declared_pools(models))
    importer = Importer(registry, registrar.record, Settings(state_dir=folder / "state"), signature_in)
    importing = Performer(importer.perform, check=importer.check, undo=importer.undo)
    kinds = {**registrar.performers(), **deployments.performers(), "import": importing}
    operations = Operations(store, kinds)
    uses.operations = operations
    workshop = Workshop(registry, operations, artifacts, declared=declared_pools(models))
    doorman = Doorman(store, required=credentials is not None)
    drift = Drift(store, Baselines(registry_store), declared_in(models))
    rolling = Rolling(store, service.traffic)
    desk = Desk(rolling.rollouts, Feed(store), store, store, Feedback(store, {}), drift, rolling.episodes)
    door = Door(doorman, log=SecurityLog(str(folder / "security.log")))
    app = create_app(service, workshop, door, key_service=KeyService(store), desk=desk)
    if credentials is not None:
        await store.change_access(AccessChange(0, LedgerEntry("key", "test", "", {}), tuple(credentials.records)))
        await doorman.look()
    conductor = Conductor(service, store, pools, models, probe=_answers, operations=operations, boot=name)
    running = asyncio.create_task(conductor.run())
    looking = asyncio.create_task(doorman.run())
    transport = httpx.ASGITransport(app)
    headers = {"content-type": "application/json"}
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://sluice", headers=headers) as http:
            yield Room(http, app, service, workshop, store, trials, registrar, sources, kept)
    finally:
        await _no_longer_connecting(store)
        while not (running.done() and looking.done()):  # a client of Redis that is just connecting may swallow one
            running.cancel()
            looking.cancel()
            await asyncio.wait({running, looking}, timeout=0.05)
        await store.close()
        await registry_store.close()


async def _no_longer_connecting(store: Store) -> None:
    """A client of Redis that is cancelled while it connects leaves a stream behind that nobody closes."""
    pool = store._redis.connection_pool
    for _ in range(200):
        await asyncio.sleep(0)
        if all(one.is_connected for one in pool._in_use_connections):
            return
        await asyncio.sleep(0.005)


async def _answers(_endpoint: Endpoint) -> bool:
    return True


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem, checked to be one."""
    body: dict[str, Any] = response.json()
    assert response.status_code == body["status"] == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert body["detail"].endswith(".")
    assert "Traceback" not in response.text
    return body
