"""How a version gets into the registry: its artifact is brought in and measured, tried on a real server, and recorded.

What can be refused at once is refused before anything is copied (`check_…`). A version is recorded last and in one
commit, verified from its first moment, so that nobody ever sees one that did not answer; whatever ends a registration
before that leaves nothing behind, save an artifact that another version is made of. Every step finds what an earlier
run has done, so an operation may be run again from its beginning at any time.

Where files may come from and how they are measured is `registry.artifacts`, how they are tried is
`serving.control.trials`, and how a version is verified again `serving.control.verifying`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from registry.artifacts import ArtifactStore
from registry.codec import contents_from_dict, digest_of
from registry.errors import (
    ArtifactsUnavailable,
    Conflict,
    Contended,
    NotFound,
    StoreDamaged,
)
from registry.errors import StoreUnavailable as RegistryUnavailable
from registry.lifecycle import Event, State
from registry.models import Contents
from registry.service import MOST_LISTED, Registered, Registry, Shown
from serving.control.bringing import Bringing
from serving.control.errors import StoreUnavailable, Unknown
from serving.control.importing.performing import Importer
from serving.control.operations import Operation, Perform, Performer, Tell
from serving.control.registration import Asked, example_at, signature_at
from serving.control.threads import on_artifacts
from serving.control.trials import Trials, TriesOut
from serving.control.verifying import Verifier
from serving.control.views import Current
from serving.pools import PoolOptions
from serving.settings import ModelSettings, Settings
from serving.triton.inspecting import signature_in

_NOT_MEASURED = "0" * 64
_ARTIFACT = "artifact"
"""What a registration knows: the digest of the artifact that it has brought in."""
_CONTENTS = "contents"
"""What a registration knows: the digest of what it is about to record."""


class Runs(Protocol):
    """Who knows what a model runs (`serving.control.service`)."""

    async def current(self, model: str) -> Current:
        """Its policy."""


class Registrar:
    """Registers, for one installation.

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
        self._trials = Trials(pools)
        self._verifier = Verifier(registry, artifacts, self._trials)
        self._service = service
        self._declared = {model.name: {one.version for one in model.versions} for model in models}
        self._bringing = Bringing(registry, artifacts)

    def performers(self) -> Mapping[str, Performer]:
        """Who does this work, by the kind of operation."""
        return {
            "register": Performer(
                _while_the_store_answers(self.register),
                self.check_register,
                _while_the_store_answers(self.undo_register),
            ),
            "verify": Performer(_while_the_store_answers(self._verifier.verify), check=self._verifier.check_verify),
        }

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
        serves = await self._to_serve(operation.model, asked.serves, force=asked.force)

        async def check(contents: Contents, *, measured: bool) -> None:
            await self._registry.check(
                operation.model, contents, number=asked.number, serves=serves, force=asked.force, measured=measured
            )

        await check(contents, measured=False)
        if asked.number is not None and await self._is_there(operation.model, asked.number):
            # All else is the same, so it is the same version or another one, and only its bytes can say which.
            artifact = await on_artifacts(self._artifacts.measured, asked.source, asked.kind)
            await check(replace(contents, artifact=artifact), measured=True)

    async def register(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """Brings the artifact in, tries it, and records the version; the result says which it became."""
        asked = Asked.of(operation)
        self._refuse_declared(operation.model, asked.number)
        foreseen = await self._foreseen(asked)
        artifact = await self._bringing.brought(asked, tell)
        async with self._bringing.holding(artifact.digest):
            if not await on_artifacts(self._artifacts.has, artifact.digest):  # another's failure took it away
                artifact = await self._bringing.brought(asked, tell)
            contents = replace(foreseen, artifact=artifact)
            await tell(
                f"the artifact is {artifact.digest[:12]}",
                **{_ARTIFACT: artifact.digest, _CONTENTS: digest_of(contents)},
            )
            registered = await self.record(
                operation.model,
                contents,
                number=asked.number,
                force=asked.force,
                who=operation.who,
                why=operation.why,
                tell=tell,
                serves=asked.serves,
                options=asked.options,
            )
        return await self._result(registered)

    async def undo_register(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """Takes away the artifact that a killed run left; the result, where the version was recorded all the same."""
        digest = operation.known.get(_ARTIFACT)
        if digest is None:
            return {}
        there = await self._recorded(operation)
        if there is None:
            await tell("taking away what nobody needs")
            await self._bringing.forget(digest)
            return {}
        version = there.version
        created = version.registered_by == operation.who and version.registered_at_ms >= operation.began_ms
        return await self._result(Registered(version, created=created, durable=False))

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
            serves: the version whose clients it must be able to serve; None for the one that is stable.
            options: how it is run in the trial.

        Raises:
            Conflict: the number is something else; somebody may have been faster.
            SluiceError: the trial failed. Nothing is recorded, and the artifact is gone unless somebody needs it.
        """
        digest = contents.artifact.digest
        async with self._bringing.holding(digest):
            self._refuse_declared(model, number)
            there = await self._there(model, number, contents)
            if there is not None and there.standing.state is not State.REGISTERED:
                return Registered(there.version, created=False, durable=False)
            serves = await self._to_serve(model, serves, force=force)
            await self._registry.check(model, contents, number=number, serves=serves, force=force)
            await self._trials.tried(model, number or 1, contents, options, tell)
            if there is not None:
                done = await self._registry.move(
                    model, there.version.number, Event.VERIFY, expected=None, who=who, why=why
                )
                return Registered(there.version, created=False, durable=done.durable)
            if not await on_artifacts(self._artifacts.has, digest):
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

    # What a registration needs to know.

    async def _foreseen(self, asked: Asked) -> Contents:
        """What the version will be made of, but for the artifact's digest."""
        place, kind = await on_artifacts(self._artifacts.look, asked.source, asked.kind)
        said = {name: value for name, value in asked.contents.items() if value is not None}
        if "signature" not in said:
            said["signature"] = await on_artifacts(signature_at, place, kind)
        if "example" not in said:
            said["example"] = await on_artifacts(example_at, place)
        artifact = {"kind": kind.value, "digest": _NOT_MEASURED, "size_bytes": 0}
        return contents_from_dict({**said, "artifact": artifact})

    async def _to_serve(self, model: str, named: int | None, *, force: bool) -> int | None:
        """The version whose clients it must serve: the one that was named, else the stable one, if it is registered."""
        if named is not None or force:
            return named
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

    async def _recorded(self, operation: Operation) -> Shown | None:
        """The version that is made of what an operation was about to record, and has answered."""
        number, below = operation.about.get("number"), None
        with suppress(NotFound):  # no model, or deleted between two looks
            while page := await self._registry.versions(operation.model, below=below, limit=MOST_LISTED):
                for listed in page:
                    is_it = listed["contents_digest"] == operation.known[_CONTENTS]
                    if is_it and number in (None, listed["version"]) and listed["state"] != State.REGISTERED:
                        return await self._registry.show(operation.model, listed["version"])
                below = page[-1]["version"]
        return None

    async def _result(self, registered: Registered) -> dict[str, Any]:
        artifact = registered.version.contents.artifact
        return {
            "model": str(registered.version.model),
            "version": int(registered.version.number),
            "created": registered.created,
            "durable": registered.durable,
            "kind": artifact.kind.value,
            "digest": artifact.digest,
            "size_bytes": artifact.size_bytes,
        }


def performers(
    registry: Registry, artifacts: ArtifactStore, pools: TriesOut, service: Runs, settings: Settings
) -> Mapping[str, Performer]:
    """Who does the long work of the registry, by the kind of operation."""
    registrar = Registrar(registry, artifacts, pools, service, settings.models)
    importer = Importer(registry, registrar.record, settings, signature_in)
    importing = Performer(importer.perform, check=importer.check, undo=importer.undo)
    return {**registrar.performers(), "import": importing}


def _while_the_store_answers(perform: Perform) -> Perform:
    """The same; where the registry's store goes away it is run again later, as all long work is."""

    async def performed(operation: Operation, tell: Tell) -> Mapping[str, Any]:
        try:
            return await perform(operation, tell)
        except (ArtifactsUnavailable, StoreDamaged):
            raise
        except RegistryUnavailable as error:
            raise StoreUnavailable(error.sentence, error.hint) from error

    return performed
