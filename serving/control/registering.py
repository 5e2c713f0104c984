"""How a version gets into the registry: its artifact is brought in and measured, tried on a real server, and recorded.

What can be refused at once is refused before anything is copied (`check_…`). A version is recorded last and in one
commit, verified from its first moment, so that nobody ever sees one that did not answer; whatever ends a registration
before that leaves nothing behind, save an artifact that another version is made of. Every step finds what an earlier
run has done, so an operation may be run again from its beginning at any time.

Where files may come from and how they are measured is `registry.artifacts`, what a trial is `serving.triton.trial`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from registry.artifacts import ArtifactStore
from registry.codec import contents_from_dict, digest_of, signature_as_dict
from registry.errors import Conflict, Contended, NotFound, RegistryError, Unacceptable
from registry.kinds import ArtifactKind
from registry.lifecycle import Event, State, moved
from registry.models import LONGEST_EXAMPLE, Artifact, Contents, Version
from registry.roots import LOCAL, Location
from registry.service import Registered, Registry, Shown
from serving.control.errors import Unknown
from serving.control.operations import Operation, Performer, Tell
from serving.control.views import Current
from serving.pools import PoolOptions, PoolSpec, Tried
from serving.settings import ModelSettings, Settings
from serving.triton.inspecting import signature_in

_log = logging.getLogger(__name__)

_NOT_MEASURED = "0" * 64
_EXAMPLE = "example.json"
_LOOK_S = 0.2
_TOLD_EVERY_S = 1.0
_MB = 1_000_000

_Result = TypeVar("_Result")


class TriesOut(Protocol):
    """Where a trial is run (Ray Serve's cluster)."""

    async def try_out(self, spec: PoolSpec, tell: Callable[[str], None]) -> Tried:
        """Loads it, starts it, asks it, stops it."""


class Runs(Protocol):
    """Who knows what a model runs (`serving.control.service`)."""

    async def current(self, model: str) -> Current:
        """Its policy."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a registration asks for, as an operation's arguments hold it.

    Attributes:
        source: the artifact's address.
        contents: what its maker says of it, as `registry.codec` writes contents, without the artifact; what is left
            out of signature and example is looked for among the artifact's files.
        kind: of the artifact; None to have it told from its files.
        digest: that its sender computed; None for none.
        number: what the version is to be called; None for the next free number.
        serves: the version whose clients it must be able to serve; None for the one that is stable.
        force: it need not.
        options: how it is run in the trial.
    """

    source: str
    contents: Mapping[str, Any]
    kind: ArtifactKind | None = None
    digest: str | None = None
    number: int | None = None
    serves: int | None = None
    force: bool = False
    options: PoolOptions = field(default_factory=PoolOptions)

    @classmethod
    def of(cls, operation: Operation) -> Asked:
        """What that operation asks for.

        Raises:
            Unacceptable: its arguments are none.
        """
        said = dict(operation.arguments)
        try:
            kind = said.pop("kind", None)
            options = _options(said.pop("options", None))
            return cls(**said, kind=None if kind is None else ArtifactKind(kind), options=options)
        except (TypeError, ValueError) as error:
            raise Unacceptable(f"These are no arguments of a registration: {error}.") from error


class Registrar:
    """Registers and verifies, for one installation.

    Args:
        registry: where versions are recorded.
        artifacts: where their files are kept.
        pools: where they are tried.
        service: knows which version of a model is stable.
        models: what the settings declare; their numbers are taken.
    """

    def __init__(
        self,
        registry: Registry,
        artifacts: ArtifactStore,
        pools: TriesOut,
        service: Runs,
        models: tuple[ModelSettings, ...] = (),
    ) -> None:
        self._registry = registry
        self._artifacts = artifacts
        self._pools = pools
        self._service = service
        self._declared = {model.name: {one.version for one in model.versions} for model in models}
        self._held: Counter[str] = Counter()
        self._letting_go = asyncio.Lock()

    def performers(self) -> Mapping[str, Performer]:
        """Who does this work, by the kind of operation."""
        return {
            "register": Performer(self.register, check=self.check_register),
            "verify": Performer(self.verify, check=self.check_verify),
        }

    # Registering.

    async def check_register(self, operation: Operation) -> None:
        """Refuses what can be refused before anything is copied.

        Raises:
            Conflict: the number is taken.
            NotFound: the parent, or the version that it must serve, is not there.
            Unacceptable: the source is not admitted or holds no artifact, it cannot serve those clients, or a value
                is none.
        """
        asked = Asked.of(operation)
        self._refuse_declared(operation.model, asked.number)
        contents = await self._foreseen(asked)
        serves = await self._to_serve(operation.model, asked)

        async def check(contents: Contents, *, measured: bool) -> None:
            await self._registry.check(
                operation.model, contents, number=asked.number, serves=serves, force=asked.force, measured=measured
            )

        await check(contents, measured=False)
        if asked.number is not None and await self._is_there(operation.model, asked.number):
            # All else is the same, so it is the same version or another one, and only its bytes can say which.
            artifact = await asyncio.to_thread(self._artifacts.measured, asked.source, asked.kind)
            await check(replace(contents, artifact=artifact), measured=True)

    async def register(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """Brings the artifact in, tries it, and records the version; the result says which it became."""
        asked = Asked.of(operation)
        self._refuse_declared(operation.model, asked.number)
        foreseen = await self._foreseen(asked)
        artifact = await self._brought(asked, tell)
        async with self._holding(artifact.digest):
            if not await asyncio.to_thread(self._artifacts.has, artifact.digest):  # another's failure took it away
                artifact = await self._brought(asked, tell)
            contents = replace(foreseen, artifact=artifact)
            registered = await self.record(
                operation.model,
                contents,
                number=asked.number,
                force=asked.force,
                who=operation.who,
                why=operation.why,
                tell=tell,
                serves=await self._to_serve(operation.model, asked),
                options=asked.options,
            )
        return await self._result(registered)

    async def record(
        self,
        model: str,
        contents: Contents,
        *,
        number: int | None,
        force: bool,
        who: str,
        why: str,
        tell: Tell,
        serves: int | None = None,
        options: PoolOptions = PoolOptions(),  # noqa: B008 - frozen
    ) -> Registered:
        """Tries contents whose artifact is in the store, and records them; what is there already is found again.

        Args:
            model: whose version it becomes.
            contents: complete.
            number: what it is to be called; None for the next free number.
            force: whether it may fail the clients of `serves`.
            who: for the audit log.
            why: for the audit log.
            tell: hears what is being done.
            serves: the version whose clients it must be able to serve; None for none.
            options: how it is run in the trial.

        Raises:
            Conflict: the number is something else; somebody may have been faster.
            SluiceError: the trial failed. Nothing is recorded, and the artifact is gone unless somebody needs it.
        """
        digest = contents.artifact.digest
        async with self._holding(digest):
            self._refuse_declared(model, number)
            there = await self._there(model, number, contents)
            if there is not None and there.standing.state is not State.REGISTERED:
                return Registered(there.version, created=False, durable=False)
            await self._registry.check(model, contents, number=number, serves=serves, force=force)
            await self._tried(model, number or 1, contents, options, tell)
            if there is not None:
                done = await self._registry.move(
                    model, there.version.number, Event.VERIFY, expected=None, who=who, why=why
                )
                return Registered(there.version, created=False, durable=done.durable)
            if not await asyncio.to_thread(self._artifacts.has, digest):
                raise Contended(f"The artifact {digest} was taken away meanwhile.", "Register it again.")
            await tell("recording it")
            return await self._registry.register(
                model,
                contents,
                who=who,
                why=why,
                number=number,
                serves=serves,
                force=force,
                verified=True,
                above=max(self._declared.get(model, ()), default=0),
            )

    # Verifying.

    async def check_verify(self, operation: Operation) -> None:
        """Refuses what is not there, or can no longer be verified.

        Raises:
            NotFound: there is no such version.
            Unacceptable: it is archived.
        """
        shown = await self._registry.show(operation.model, operation.version or 0)
        if shown.standing.state not in {State.VERIFIED, State.SERVING}:
            moved(shown.standing.state, Event.VERIFY)

    async def verify(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """Reads every byte of the artifact again, tries it, and says so in the registry.

        Raises:
            Corrupted: the bytes are not those that were registered.
            SluiceError: the trial failed.
        """
        await self.check_verify(operation)
        shown = await self._registry.show(operation.model, operation.version or 0)
        version, digest = shown.version, shown.version.contents.artifact.digest
        await tell("reading the artifact again")
        await asyncio.to_thread(self._artifacts.verify, digest)
        options = _options(operation.arguments.get("options"))
        tried = await self._tried(str(version.model), version.number, version.contents, options, tell)
        standing = (await self._registry.show(version.model, version.number)).standing
        if standing.state is State.REGISTERED:
            await self._registry.move(
                version.model, version.number, Event.VERIFY, expected=None, who=operation.who, why=operation.why
            )
        return {
            **_named(version),
            "digest": digest,
            "latency_ms": _rounded(tried.latency_ms, 3),
            "throughput": _rounded(tried.throughput, 1),
        }

    # Below: what a registration needs to know.

    async def _foreseen(self, asked: Asked) -> Contents:
        """What the version will be made of, but for the artifact's digest."""
        place, kind = await asyncio.to_thread(self._artifacts.look, asked.source, asked.kind)
        said = {name: value for name, value in asked.contents.items() if value is not None}
        if "signature" not in said:
            said["signature"] = await asyncio.to_thread(_signature_at, place, kind)
        if "example" not in said:
            said["example"] = await asyncio.to_thread(_example_at, place)
        artifact = {"kind": kind.value, "digest": _NOT_MEASURED, "size_bytes": 0}
        return contents_from_dict({**said, "artifact": artifact})

    async def _to_serve(self, model: str, asked: Asked) -> int | None:
        """The version whose clients it must serve: the one that was named, else the stable one, if it is registered."""
        if asked.serves is not None or asked.force:
            return asked.serves
        try:
            stable = (await self._service.current(model)).policy.stable
        except Unknown:
            return None
        if stable in self._declared.get(model, ()):
            return None
        return stable if await self._is_there(model, stable) else None

    def _refuse_declared(self, model: str, number: int | None) -> None:
        declared = self._declared.get(model, set())
        if number in declared:
            raise Conflict(
                f"{model} version {number} is in the settings.",
                f"Leave the number out, or use one above {max(declared)}.",
            )

    async def _is_there(self, model: str, number: int) -> bool:
        try:
            await self._registry.show(model, number)
        except NotFound:
            return False
        return True

    async def _there(self, model: str, number: int | None, contents: Contents) -> Shown | None:
        """The version that these contents are already: the one of that number, or any."""
        if number is None:
            return await self._registry.same(model, contents)
        try:
            shown = await self._registry.show(model, number)
        except NotFound:
            return None
        return shown if digest_of(shown.version.contents) == digest_of(contents) else None

    async def _result(self, registered: Registered) -> dict[str, Any]:
        artifact = registered.version.contents.artifact
        return {
            **_named(registered.version),
            "created": registered.created,
            "durable": registered.durable,
            "kind": artifact.kind.value,
            "digest": artifact.digest,
            "size_bytes": artifact.size_bytes,
        }

    # Below: what takes long.

    async def _brought(self, asked: Asked, tell: Tell) -> Artifact:
        copied = _Copied()
        await tell(f"bringing in {asked.source}")

        def bring() -> Artifact:
            return self._artifacts.bring(asked.source, kind=asked.kind, expected=asked.digest, hear=copied)

        bringing = asyncio.ensure_future(asyncio.to_thread(bring))
        try:
            while not (await asyncio.wait({bringing}, timeout=_TOLD_EVERY_S))[0]:
                await tell(f"bringing in {asked.source}: {copied.size / _MB:,.1f} MB so far")
            return bringing.result()
        finally:
            if not bringing.done():  # a thread cannot be cancelled, so it is told, and waited for
                copied.stopped = True
                await asyncio.wait({bringing})
                if bringing.exception() is None:
                    self._held[bringing.result().digest] += 1
                    await self._let_go(bringing.result().digest)

    async def _tried(self, model: str, number: int, contents: Contents, options: PoolOptions, tell: Tell) -> Tried:
        spec = PoolSpec(
            model,
            number,
            options,
            artifact=contents.artifact.digest,
            kind=contents.artifact.kind.value,
            signature=json.dumps(signature_as_dict(contents.signature)),
            example=contents.example or "",
        )
        await tell("trying it on a server of its own")
        lines: list[str] = []
        trial = asyncio.ensure_future(self._pools.try_out(spec, lines.append))
        try:
            while True:
                ended, _ = await asyncio.wait({trial}, timeout=_LOOK_S)
                said, lines[:] = lines[:], []
                for line in said:
                    await tell(line)
                if ended:
                    return trial.result()
        finally:
            await _ended(trial)

    @asynccontextmanager
    async def _holding(self, digest: str) -> AsyncIterator[None]:
        """Within it, nobody of this process takes the artifact away; after a failure it goes, if nobody needs it."""
        async with self._letting_go:
            self._held[digest] += 1
        try:
            yield
        except BaseException:
            await asyncio.shield(self._let_go(digest))
            raise
        else:
            self._held[digest] -= 1

    async def _let_go(self, digest: str) -> None:
        async with self._letting_go:
            self._held[digest] -= 1
            if self._held[digest] > 0:
                return
            del self._held[digest]
            try:
                if not await self._registry.holders(digest):
                    await asyncio.to_thread(self._artifacts.remove, digest)
            except RegistryError as error:
                _log.warning("the artifact %s stays, although its registration failed: %s", digest, error)


def performers(
    registry: Registry, artifacts: ArtifactStore, pools: TriesOut, service: Runs, settings: Settings
) -> Mapping[str, Performer]:
    """Who does the long work of the registry, by the kind of operation."""
    return Registrar(registry, artifacts, pools, service, settings.models).performers()


class _Copied:
    """How much was copied; told by the thread that copies, which ends when it is told to."""

    def __init__(self) -> None:
        self.size = 0
        self.stopped = False

    def __call__(self, size: int) -> None:
        self.size += size
        if self.stopped:
            raise _StoppedError


class _StoppedError(Exception):
    """Whoever wanted the copy does not want it any more."""


async def _ended(task: asyncio.Future[_Result]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait({task})


def _signature_at(place: Location, kind: ArtifactKind) -> dict[str, Any]:
    """What the artifact's files say of its signature, in the form of `signature.json` without labels."""
    if place.protocol != LOCAL:
        raise Unacceptable(
            f"What {place} takes and gives is not known before it is copied.", "Say it: give a signature."
        )
    text = _in_folder(Path(place.path), lambda folder: signature_in(folder, kind.value))
    if text is None:
        raise Unacceptable(
            f"What the artifact at {place.path} takes and gives cannot be told from its files.",
            "Put a signature.json beside the model, or give a signature.",
        )
    said = json.loads(text)
    return {
        side: [{name: value for name, value in tensor.items() if name != "labels"} for tensor in said[side]]
        for side in ("inputs", "outputs")
    }


def _example_at(place: Location) -> str | None:
    """The artifact's own example, where it has one that is not too large to be kept with the version."""
    path = Path(place.path) / _EXAMPLE
    if place.protocol != LOCAL or not path.is_file() or path.stat().st_size > LONGEST_EXAMPLE:
        return None
    return path.read_text(encoding="utf-8", errors="replace")


def _in_folder(place: Path, look: Callable[[Path], _Result]) -> _Result:
    """An artifact that is one file is a folder with that file in it."""
    if place.is_dir():
        return look(place)
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
        (Path(folder) / place.name).symlink_to(place)
        return look(Path(folder))


def _options(said: Mapping[str, Any] | None) -> PoolOptions:
    try:
        return PoolOptions.model_validate(said or {})
    except ValidationError as error:
        [first, *_] = error.errors(include_url=False)
        where = ".".join(map(str, first["loc"]))
        raise Unacceptable(f"The option {where} cannot be used: {first['msg']}.") from None


def _rounded(figure: float | None, digits: int) -> float | None:
    return None if figure is None else round(figure, digits)


def _named(version: Version) -> dict[str, Any]:
    return {"model": str(version.model), "version": int(version.number)}
