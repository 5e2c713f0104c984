"""The values of the registry: names, numbers, and what a version is made of. Each checks itself when it is built.

A version is immutable, so whatever may change (its state, the aliases that point at it) is not part of it. `Contents`
is all that its maker says; number, name and time are given to it by the registry, so that two makers who bring equal
contents bring the same thing. Bytes are `registry.codec`, moves are `registry.changes`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Self, TypedDict

from registry.errors import Unacceptable
from registry.kinds import ArtifactKind
from registry.signature import Signature

LARGEST_VERSION = 2**31 - 1
"""Versions travel in 32 bits; Triton's folders are numbered the same way."""

LONGEST_EXAMPLE = 1_048_576
LONGEST_TEXT = 1_000
MOST_PAIRS = 1_000

Parameter = str | int | float | bool

_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_ALIAS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LARGEST_COUNT = 2**63 - 1


class ModelName(str):
    """A model's name: a folder, a part of a URL's path and a value in a configuration, so few characters."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Refuses what could not be all of these."""
        if not isinstance(text, str) or not _MODEL_NAME.fullmatch(text):
            raise Unacceptable(f"{_shown(text)} is no model's name: it must match {_MODEL_NAME.pattern}.")
        return super().__new__(cls, text)


class AliasName(str):
    """A name that moves from version to version; never a number, so that the two cannot be mistaken."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Refuses what could be a number, or could not be part of a URL."""
        if not isinstance(text, str) or not _ALIAS_NAME.fullmatch(text):
            raise Unacceptable(f"{_shown(text)} is no alias: it must match {_ALIAS_NAME.pattern}.")
        return super().__new__(cls, text)


class VersionNumber(int):
    """A version's number, 1 to 2^31 - 1."""

    __slots__ = ()

    def __new__(cls, number: int) -> Self:
        """Refuses what is no whole number of that size; true is none either."""
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= LARGEST_VERSION:
            raise Unacceptable(f"{_shown(number)} is no version: use a whole number from 1 to {LARGEST_VERSION}.")
        return super().__new__(cls, number)


@dataclass(frozen=True, slots=True)
class Artifact:
    """The files of a version.

    Attributes:
        kind: what they are.
        digest: SHA-256 over their tree (`registry.tree`), which is also where the artifact store keeps them.
        size_bytes: all of them together.
    """

    kind: ArtifactKind
    digest: str
    size_bytes: int

    def __post_init__(self) -> None:
        if not isinstance(self.kind, ArtifactKind):
            raise Unacceptable(f"{_shown(self.kind)} is no kind of artifact: use one of {', '.join(ArtifactKind)}.")
        check_digest("artifact's digest", self.digest)
        _check_count("artifact's size in bytes", self.size_bytes)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a version was trained on: a fingerprint, whatever its maker takes for one, and how many rows."""

    fingerprint: str
    rows: int

    def __post_init__(self) -> None:
        _check_text("training data's fingerprint", self.fingerprint, least=1)
        _check_count("number of training rows", self.rows)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a version is made of, as its maker says it.

    Attributes:
        artifact: its files.
        signature: what it takes and gives.
        data: what it was trained on; None where nobody said.
        parameters: of the training.
        metrics: finite numbers by name, such as accuracy.
        parent: the version of the same model that it was made from.
        code_revision: of the code that made it, such as a commit.
        example: the JSON body of a v2 inference request that it answers, for warming up.
        baseline_digest: SHA-256 of what drift is measured against.
        tags: whatever else is worth knowing.
    """

    artifact: Artifact
    signature: Signature
    data: TrainingData | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    parent: VersionNumber | None = None
    code_revision: str = ""
    example: str | None = None
    baseline_digest: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_text("code revision", self.code_revision)
        for name in ("parameters", "metrics", "tags"):
            _check_pairs(name, getattr(self, name))
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        for name, value in self.parameters.items():
            _check_parameter(name, value)
        for name, text in self.tags.items():
            _check_text(f"tag {name}", text)
        finite = {name: _finite(f"metric {name}", value) for name, value in self.metrics.items()}
        object.__setattr__(self, "metrics", MappingProxyType(finite))
        object.__setattr__(self, "parent", None if self.parent is None else VersionNumber(self.parent))
        if self.baseline_digest is not None:
            check_digest("baseline's digest", self.baseline_digest)
        if self.example is not None:
            _check_example(self.example, self.signature)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model, immutable once registered; the time is milliseconds since 1970 by the store's clock."""

    model: ModelName
    number: VersionNumber
    contents: Contents
    registered_by: str
    registered_at_ms: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", ModelName(self.model))
        object.__setattr__(self, "number", VersionNumber(self.number))
        _check_text("name of who registers it", self.registered_by, least=1)
        _check_count("time of registration", self.registered_at_ms)
        if self.contents.parent == self.number:
            raise Unacceptable(f"{self} names itself as its parent.")

    def __str__(self) -> str:
        """'digits version 3'."""
        return f"{self.model} version {int(self.number)}"


@dataclass(frozen=True, slots=True)
class Alias:
    """Which version a name stands for, and the model's revision at which it was put there."""

    version: VersionNumber
    revision: int


class Listed(TypedDict):
    """A version as a list shows it, in plain values: ten thousand are read at once, and go out as they are.

    Attributes:
        version: its number.
        state: a `State`'s value.
        revision: of the model, when the version got into its state.
        kind: of its artifact, an `ArtifactKind`'s value.
        artifact_digest: of its artifact.
        contents_digest: of its canonical contents; two versions that share it are the same thing twice.
        registered_by: who.
        registered_at: when, in UTC.
        metrics: finite numbers by name.
    """

    version: int
    state: str
    revision: int
    kind: str
    artifact_digest: str
    contents_digest: str
    registered_by: str
    registered_at: datetime
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ModelListed:
    """A model as a list shows it; `newest` is the highest number that it ever gave away."""

    name: ModelName
    revision: int
    versions: int
    newest: int
    aliases: Mapping[AliasName, Alias]


def check_digest(what: str, value: object) -> None:
    """Refuses what is no SHA-256 in hexadecimal."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise Unacceptable(f"The {what} is {_shown(value)}: it must be a SHA-256, 64 digits of 0-9 and a-f.")


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."  # noqa: PLR2004 - as much as a line of a terminal


def _check_text(what: str, value: object, *, least: int = 0) -> None:
    if not isinstance(value, str) or not least <= len(value) <= LONGEST_TEXT:
        raise Unacceptable(f"The {what} is {_shown(value)}: it must be text of {least} to {LONGEST_TEXT} characters.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Unacceptable(f"The {what} is {_shown(value)}: it must be text that UTF-8 can write.") from error


def _check_count(what: str, value: object) -> None:
    if type(value) is not int or not 0 <= value <= _LARGEST_COUNT:
        raise Unacceptable(f"The {what} is {_shown(value)}: it must be a whole number, 0 or more.")


def _check_pairs(what: str, pairs: Mapping[str, object]) -> None:
    if not isinstance(pairs, Mapping) or len(pairs) > MOST_PAIRS:
        raise Unacceptable(f"The {what} must be at most {MOST_PAIRS:,} values by name.")
    for name in pairs:
        _check_text(f"name of one of the {what}", name, least=1)


def _check_parameter(name: str, value: object) -> None:
    if isinstance(value, str):
        _check_text(f"parameter {name}", value)
    elif isinstance(value, float):
        _finite(f"parameter {name}", value)
    elif not isinstance(value, int) or abs(value) > _LARGEST_COUNT:
        raise Unacceptable(f"The parameter {name} is {_shown(value)}: it must be text, a number, true or false.")


def _finite(what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unacceptable(f"The {what} is {_shown(value)}: it must be a number.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Unacceptable(f"The {what} is {_shown(value)}: it must be finite.")
    return number


def _check_example(example: str, signature: Signature) -> None:
    if not isinstance(example, str) or len(example) > LONGEST_EXAMPLE:
        raise Unacceptable(
            f"The example request must be text of at most {LONGEST_EXAMPLE:,} characters.",
            "Give one row; a larger one can lie in the artifact as example.json.",
        )
    try:
        refusals = signature.refusals(json.loads(example)["inputs"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unacceptable(f"The example request is not the JSON body of a v2 inference request: {error!r}.") from error
    if refusals:
        raise Unacceptable(f"The example request does not fit the signature: {' '.join(refusals)[:500]}")
