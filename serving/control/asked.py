"""What an operation on pools asks for, from settings, registry and what runs already; and the states in the registry.

A version of the settings is a folder and has no state; any other must be in the registry, and verified.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pydantic import ValidationError

from registry.codec import signature_as_dict
from registry.errors import NotFound
from registry.errors import StoreUnavailable as RegistryUnavailable
from registry.lifecycle import Event, State
from registry.service import Done, Shown
from serving.control.errors import StoreUnavailable, Unacceptable
from serving.control.operation import Operation
from serving.control.wishes import ModelVersion, WishStore
from serving.mistakes import mistakes_of
from serving.pools import PoolOptions, PoolSpec

_NO_VARIABLE = "="
"""What no environment variable's name begins with: options come from an operator."""
_SERVABLE = frozenset({State.VERIFIED, State.SERVING})


class Library(Protocol):
    """Where registered versions are (`registry.service.Registry`)."""

    async def show(self, model: str, version: int | str) -> Shown:
        """A version and its state."""

    async def move(
        self, model: str, version: int, event: Event, *, expected: int | None, who: str, why: str = ""
    ) -> Done:
        """Lets an event happen to a version."""


class Asked:
    """What operations ask for, in one installation.

    Args:
        store: where wishes are kept.
        library: where registered versions are.
        declared: the pools that the settings declare, by (model, version).
        source_of: who starts a declared version's endpoints; None of another one.
    """

    def __init__(
        self,
        store: WishStore,
        library: Library,
        declared: Mapping[ModelVersion, PoolSpec],
        source_of: Callable[[str, int], str | None],
    ) -> None:
        self._store = store
        self._library = library
        self._declared = declared
        self._source_of = source_of

    async def spec(self, operation: Operation) -> PoolSpec:
        """What is to run: what is said, and for the rest what runs already, or the defaults."""
        key = version_of(operation)
        declared = self._declared.get(key)
        if declared is None and self._source_of(*key) == "static":
            raise Unacceptable(
                f"{key[0]} version {key[1]} is served by somebody else's Triton, and is not ours to start.",
                "Give it traffic as it is.",
            )
        wish = await self._store.wish(*key)
        before = wish.before if wish and wish.operation == operation.id else (wish.spec if wish else None)
        base = before or declared
        options = _options({**(_said(base.options) if base else {}), **operation.arguments.get("options", {})})
        if declared is not None:
            return PoolSpec(*key, options, path=declared.path)
        shown = await self._shown(key)
        if shown.standing.state not in _SERVABLE:
            raise Unacceptable(
                f"{shown.version} is {shown.standing.state}, and only a verified version is deployed.",
                "Verify it first.",
            )
        contents = shown.version.contents
        return PoolSpec(
            *key,
            options,
            artifact=contents.artifact.digest,
            kind=contents.artifact.kind.value,
            signature=json.dumps(signature_as_dict(contents.signature), sort_keys=True),
            example=contents.example or "",
        )

    async def move(self, key: ModelVersion, event: Event, operation: Operation) -> None:
        """Moves a registered version, where it is not there already; a version of the settings has no state."""
        if key in self._declared:
            return
        moves = {Event.SERVE: State.VERIFIED, Event.WITHDRAW: State.SERVING}
        try:
            shown = await self._shown(key)
            if shown.standing.state is moves[event]:
                expected = shown.standing.revision
                await self._library.move(*key, event, expected=expected, who=operation.who, why=str(operation))
        except NotFound:
            return  # deleted meanwhile, which ends all its states
        except RegistryUnavailable as error:
            raise StoreUnavailable(error.sentence, error.hint) from error

    async def _shown(self, key: ModelVersion) -> Shown:
        """The registered version.

        Raises:
            NotFound: there is none.
            StoreUnavailable: the registry cannot be asked now.
        """
        try:
            return await self._library.show(*key)
        except RegistryUnavailable as error:
            raise StoreUnavailable(error.sentence, error.hint) from error


def version_of(operation: Operation) -> ModelVersion:
    """Which version the operation is of.

    Raises:
        Unacceptable: it names none.
    """
    if operation.version is None:
        raise Unacceptable(f"A {operation.kind} is of a version, and this one names none.")
    return operation.model, operation.version


def _said(options: PoolOptions) -> dict[str, Any]:
    return options.model_dump(mode="json", exclude_unset=True)


def _options(said: Mapping[str, Any]) -> PoolOptions:
    try:
        return PoolOptions.model_validate(dict(said))
    except ValidationError as error:
        told = mistakes_of(error, PoolOptions, _NO_VARIABLE)
        raise Unacceptable(f"A version cannot be run so: {'; '.join(told)}.") from None
