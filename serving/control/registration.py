"""What a registration asks for, and what an artifact's own files say of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from registry.errors import Unacceptable
from registry.kinds import ArtifactKind
from registry.models import LONGEST_EXAMPLE
from registry.roots import LOCAL, Location
from serving.control.operations import Operation
from serving.pools import PoolOptions
from serving.triton.inspecting import signature_in

_EXAMPLE = "example.json"

_Result = TypeVar("_Result")


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
            options = options_from(said.pop("options", None))
            return cls(**said, kind=None if kind is None else ArtifactKind(kind), options=options)
        except (TypeError, ValueError) as error:
            raise Unacceptable(f"These are no arguments of a registration: {error}.") from error


def signature_at(place: Location, kind: ArtifactKind) -> dict[str, Any]:
    """What the artifact's files say of its signature, in the form of `signature.json` without labels. Blocks.

    Raises:
        ArtifactRefused, Unacceptable: they say nothing, or what cannot be served.
    """
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


def example_at(place: Location) -> str | None:
    """The artifact's own example, where it has one that is not too large to be kept with the version. Blocks."""
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


def options_from(said: Mapping[str, Any] | None) -> PoolOptions:
    """How a version is run, from what was said of it.

    Raises:
        Unacceptable: it cannot be run so.
    """
    try:
        return PoolOptions.model_validate(said or {})
    except ValidationError as error:
        [first, *_] = error.errors(include_url=False)
        where = ".".join(map(str, first["loc"]))
        raise Unacceptable(f"The option {where} cannot be used: {first['msg']}.") from None
