"""The operation `import`: fetch, translate, register as any other version, put the aliases.

From the moment that the files are there, an imported version is treated as one that somebody registers: measured,
tried, recorded (`serving.control.registering`). Doing it again is harmless: equal contents are found. The tracking
server is the one that the settings name, never one that a request names, so that nobody can make this process ask
servers of his choice.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from registry.artifacts import ArtifactStore
from registry.errors import Conflict, RegistryError, Unacceptable
from registry.models import Artifact, Contents, ModelName, VersionNumber
from registry.roots import Roots
from registry.service import Registered, Registry
from registry.tree import Bounds
from serving.control.importing.fetching import Server, check_installed, fetch
from serving.control.importing.source import Source, Taken, shown
from serving.control.importing.translation import Imported, Inspect, translate
from serving.control.operations import Operation, Tell
from serving.control.threads import on_artifacts
from serving.settings import Settings

_SCRATCH = "imports"
_SETTING = "Set registry.mlflow_uri in the settings to its address, such as http://127.0.0.1:5000, and start again."


class Registers(Protocol):
    """Who tries contents whose artifact is in the store, and records them (`serving.control.registering`)."""

    async def __call__(
        self, model: str, contents: Contents, *, number: int | None, force: bool, who: str, why: str, tell: Tell
    ) -> Registered:
        """The version that is there now; what was there already is found again."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an import asks for.

    Attributes:
        source: the version over there.
        number: what it is to be called here; None for its number there.
        force: whether aliases that point elsewhere are moved, and clients may be failed.
    """

    source: Source
    number: int | None = None
    force: bool = False

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Asked:
        """What an operation's arguments ask for.

        Raises:
            Unacceptable: they are none.
        """
        if stray := sorted(set(arguments) - {"source", "number", "force"}):
            raise Unacceptable(f"An import takes source, number and force, and no {', '.join(stray)}.")
        number, force = arguments.get("number"), arguments.get("force", False)
        if not isinstance(force, bool):
            raise Unacceptable(f"force is {force!r}: it must be true or false.")
        return cls(Source.of(arguments.get("source")), None if number is None else int(VersionNumber(number)), force)


@dataclass(slots=True)
class Aliases:
    """What became of the aliases: put, or left for a reason."""

    put: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


class Importer:
    """Imports for one installation.

    Args:
        registry: where aliases are.
        registers: tries and records.
        settings: the tracking server, the artifact store, the state folder, whether pickles are allowed.
        inspect: reads a signature from an artifact's files (`serving.triton.inspecting.signature_in`).
        limit_s: how long the tracking server may take to hand a version over, in seconds.
    """

    def __init__(
        self,
        registry: Registry,
        registers: Registers,
        settings: Settings,
        inspect: Inspect,
        *,
        limit_s: float = 1_800.0,
    ) -> None:
        self._registry = registry
        self._registers = registers
        self._settings = settings.registry
        self._declared = {model.name: frozenset(one.version for one in model.versions) for model in settings.models}
        self._scratch = settings.state_dir / _SCRATCH
        self._inspect = inspect
        self._limit_s = limit_s

    async def check(self, operation: Operation) -> None:
        """Refuses what can be refused before anything is asked of anybody.

        Raises:
            Conflict: the number is known already, and is in the settings.
            Unacceptable: no such source, no tracking server in the settings, or no client installed.
        """
        ModelName(operation.model)
        asked = Asked.of(operation.arguments)
        if number := asked.number or asked.source.version:
            self._taken(operation).refuse(number)
        self._server()
        check_installed()

    async def perform(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """Imports the version; the result says which it became, which aliases were put, and what did not come along.

        Raises:
            Conflict: the number is something else.
            NotFound: the tracking server has no such version.
            SluiceError: the server does not answer, or the trial failed.
            Unacceptable: it is nothing that can be served.
        """
        asked, server = Asked.of(operation.arguments), self._server()
        async with self._folder(operation.id) as folder:
            await tell(f"asking {shown(server.uri)} for {asked.source}")
            taken = Taken(operation.model) if asked.number else self._taken(operation)
            facts = await fetch(asked.source, server, folder, taken)
            await tell(f"{facts.name} version {facts.version} is here; reading what it is")
            imported = await on_artifacts(
                translate,
                facts,
                folder / "model",
                folder / "artifact",
                self._inspect,
                allow_pickle=self._settings.allow_pickle,
            )
            artifact = await self._brought(folder / "artifact")
        registered = await self._registers(
            operation.model,
            _contents(imported, artifact),
            number=asked.number or imported.number,
            force=asked.force,
            who=operation.who,
            why=operation.why or f"imported from {asked.source}",
            tell=tell,
        )
        await tell("putting the aliases")
        aliases = await self._aliases(operation, registered, imported.aliases, force=asked.force)
        return _result(asked.source, registered, aliases, imported.left_out)

    async def undo(self, operation: Operation, _tell: Tell) -> Mapping[str, Any]:
        """Removes the folder that an import left which was killed and is not taken up again."""
        await on_artifacts(shutil.rmtree, self._scratch / operation.id, ignore_errors=True)
        return {}

    def _taken(self, operation: Operation) -> Taken:
        return Taken(operation.model, self._declared.get(operation.model, frozenset()))

    def _server(self) -> Server:
        settings = self._settings
        if settings.mlflow_uri is None:
            raise Unacceptable("The settings name no MLflow tracking server to import from.", _SETTING)
        return Server(settings.mlflow_uri, settings.sources, self._limit_s, largest_file=settings.max_artifact_bytes)

    @asynccontextmanager
    async def _folder(self, name: str) -> AsyncIterator[Path]:
        """A folder of this operation's own; what an earlier run of it left is removed."""
        folder = self._scratch / name
        await on_artifacts(shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        try:
            yield folder
        finally:
            await asyncio.shield(on_artifacts(shutil.rmtree, folder, ignore_errors=True))

    async def _brought(self, folder: Path) -> Artifact:
        root = self._settings.artifacts or ""
        bounds = Bounds(self._settings.max_artifact_bytes, self._settings.max_artifact_files)
        sources = Roots.of([str(folder)])
        store = ArtifactStore(root, sources, allow_pickle=self._settings.allow_pickle, bounds=bounds)
        bringing = asyncio.ensure_future(on_artifacts(store.bring, str(folder)))
        try:
            return await asyncio.shield(bringing)
        except asyncio.CancelledError:
            # A thread cannot be cancelled; what it brings in the end nobody will ever record.
            await asyncio.wait({bringing})
            if bringing.exception() is None and not await self._registry.holders(bringing.result().digest):
                await on_artifacts(store.remove, bringing.result().digest)
            raise

    async def _aliases(
        self, operation: Operation, registered: Registered, wanted: Sequence[str], *, force: bool
    ) -> Aliases:
        """Puts those that are not here yet, with `force` all; an alias that somebody here moved is his."""
        done, number = Aliases(), registered.version.number
        for alias in wanted:
            here = {str(name): there for name, there in (await self._registry.aliases(operation.model)).items()}
            there = here.get(alias)
            if there is not None and there.version == number:
                done.put.append(alias)
            elif there is not None and not force:
                done.left[alias] = f"it points at version {int(there.version)} here"
            else:
                try:
                    await self._registry.point(
                        operation.model,
                        alias,
                        number,
                        expected=there.revision if there else 0,
                        who=operation.who,
                        why=operation.why or "imported",
                    )
                    done.put.append(alias)
                except (Conflict, Unacceptable) as error:
                    done.left[alias] = error.sentence
        return done


def _contents(imported: Imported, artifact: Artifact) -> Contents:
    if artifact.kind is not imported.kind:
        raise RegistryError(f"The artifact is of the kind {artifact.kind}, and {imported.kind} was expected.")
    parts: dict[str, Any] = {
        "artifact": artifact,
        "signature": imported.signature,
        "data": imported.data,
        "parameters": imported.parameters,
        "metrics": imported.metrics,
        "code_revision": imported.code_revision,
        "tags": imported.tags,
    }
    return Contents(**parts, example=imported.example)


def _result(source: Source, registered: Registered, aliases: Aliases, left_out: Sequence[str]) -> Mapping[str, Any]:
    version = registered.version
    return {
        "model": str(version.model),
        "version": int(version.number),
        "created": registered.created,
        "durable": registered.durable,
        "kind": version.contents.artifact.kind.value,
        "digest": version.contents.artifact.digest,
        "size_bytes": version.contents.artifact.size_bytes,
        "source": str(source),
        "aliases": {"put": aliases.put, "left": aliases.left},
        "left_out": list(left_out),
    }
