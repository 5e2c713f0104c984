"""Versions as bytes: canonical JSON, so that equal values have equal bytes and a digest names a value.

Three forms: the whole version, the summary that lists are made of, and the standing. What a reader does not understand
it refuses as a whole, for half a version is none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeVar

from registry.errors import RegistryError, Unacceptable
from registry.kinds import ArtifactKind
from registry.lifecycle import Standing, State
from registry.models import (
    Alias,
    Artifact,
    Contents,
    Listed,
    TrainingData,
    Version,
    VersionNumber,
)
from registry.signature import Signature, TensorSpec

READER = 1
"""The newest form that this code reads and the one that it writes."""

_Value = TypeVar("_Value")

_VERSION = {"model", "number", "contents", "registered_by", "registered_at_ms"}
_CONTENTS = {
    *("artifact", "signature", "data", "parameters", "metrics", "parent"),
    *("code_revision", "example", "baseline_digest", "tags"),
}
_KINDS = frozenset(kind.value for kind in ArtifactKind)
_STATES = frozenset(state.value for state in State)
_TENSOR = {"name", "datatype", "shape", "optional"}


def encode_version(version: Version) -> bytes:
    """The version's canonical bytes."""
    return _canonical({"reader": READER, **version_as_dict(version)})


def decode_version(blob: bytes | str) -> Version:
    """The version in these bytes.

    Raises:
        Unacceptable: not a version, or written for a newer reader.
    """
    return version_from_dict(_readable(blob))


def digest_of(contents: Contents) -> str:
    """SHA-256 of the contents' canonical bytes, in hexadecimal: two makers who bring the same thing have the same."""
    return sha256(_canonical({"reader": READER, **contents_as_dict(contents)})).hexdigest()


def version_as_dict(version: Version) -> dict[str, Any]:
    """The version as plain values, as an API shows it."""
    return {
        "model": str(version.model),
        "number": int(version.number),
        "contents": contents_as_dict(version.contents),
        "registered_by": version.registered_by,
        "registered_at_ms": version.registered_at_ms,
    }


def version_from_dict(said: Mapping[str, Any]) -> Version:
    """The version in plain values; unknown keys are refused."""

    def built() -> Version:
        _only("version", said, _VERSION)
        return Version(**{**said, "contents": contents_from_dict(said["contents"])})

    return _checked("version", built)


def contents_as_dict(contents: Contents) -> dict[str, Any]:
    """The contents as plain values; what was left out is left out."""
    artifact, data = contents.artifact, contents.data
    said = {
        "artifact": {"kind": artifact.kind.value, "digest": artifact.digest, "size_bytes": artifact.size_bytes},
        "signature": signature_as_dict(contents.signature),
        "data": None if data is None else {"fingerprint": data.fingerprint, "rows": data.rows},
        "parameters": dict(contents.parameters),
        "metrics": dict(contents.metrics),
        "parent": None if contents.parent is None else int(contents.parent),
        "code_revision": contents.code_revision,
        "example": contents.example,
        "baseline_digest": contents.baseline_digest,
        "tags": dict(contents.tags),
    }
    return {name: value for name, value in said.items() if value is not None}


def contents_from_dict(said: Mapping[str, Any]) -> Contents:
    """The contents in plain values; unknown keys are refused, absent ones are as in `Contents`."""

    def built() -> Contents:
        _only("version's contents", said, _CONTENTS)
        _only("artifact", said["artifact"], {"kind", "digest", "size_bytes"})
        artifact = {**said["artifact"], "kind": ArtifactKind(said["artifact"]["kind"])}
        parts = {"artifact": Artifact(**artifact), "signature": signature_from_dict(said["signature"])}
        if said.get("data") is not None:
            _only("training data", said["data"], {"fingerprint", "rows"})
            parts["data"] = TrainingData(**said["data"])
        return Contents(**{**said, **parts})

    return _checked("version's contents", built)


def signature_as_dict(signature: Signature) -> dict[str, Any]:
    """The signature as plain values, in the form of a `signature.json`."""
    return {
        "inputs": [_tensor_as_dict(tensor) for tensor in signature.inputs],
        "outputs": [_tensor_as_dict(tensor) for tensor in signature.outputs],
    }


def signature_from_dict(said: Mapping[str, Any]) -> Signature:
    """The signature in plain values; unknown keys are refused."""

    def built() -> Signature:
        _only("signature", said, {"inputs", "outputs"})
        return Signature(tuple(map(_tensor, said["inputs"])), tuple(map(_tensor, said["outputs"])))

    return _checked("signature", built)


def encode_summary(version: Version) -> str:
    """What `listed_from` reads: an array, for ten thousand of them travel at once."""
    contents = version.contents
    artifact = [contents.artifact.kind.value, contents.artifact.digest, digest_of(contents)]
    said = [int(version.number), *artifact, version.registered_by, version.registered_at_ms, dict(contents.metrics)]
    return _canonical(said).decode()


def listed_from(summary: list[Any], standing: str) -> Listed:
    """The entry of a list, from a decoded summary and an encoded standing.

    Raises:
        ValueError, TypeError, OverflowError: they are something else.
    """
    number, kind, artifact, contents, by, at_ms, metrics = summary
    state, _, revision = standing.partition(" ")
    if kind not in _KINDS or state not in _STATES:
        raise ValueError(f"{kind!r}, {standing!r} is no kind of artifact and standing")
    return {
        "version": number,
        "state": state,
        "revision": int(revision),
        "kind": kind,
        "artifact_digest": artifact,
        "contents_digest": contents,
        "registered_by": by,
        "registered_at": datetime.fromtimestamp(at_ms / 1000, UTC),
        "metrics": metrics,
    }


def encode_standing(standing: Standing) -> str:
    """'verified 12'."""
    return f"{standing.state.value} {standing.revision}"


def decode_standing(text: str) -> Standing:
    """What `encode_standing` wrote.

    Raises:
        ValueError: it is something else.
    """
    state, _, revision = text.partition(" ")
    return Standing(State(state), int(revision))


def encode_alias(alias: Alias) -> str:
    """'3 12': the version and the revision."""
    return f"{int(alias.version)} {alias.revision}"


def decode_alias(text: str) -> Alias:
    """What `encode_alias` wrote.

    Raises:
        ValueError: it is something else.
    """
    version, _, revision = text.partition(" ")
    return Alias(VersionNumber(int(version)), int(revision))


def _tensor_as_dict(tensor: TensorSpec) -> dict[str, Any]:
    said = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    return {**said, "optional": True} if tensor.optional else said


def _tensor(said: Mapping[str, Any]) -> TensorSpec:
    _only("tensor", said, _TENSOR)
    return TensorSpec(**said)


def _only(what: str, said: Mapping[str, Any], known: set[str]) -> None:
    if not isinstance(said, Mapping):
        raise Unacceptable(f"This {what} is no object: it must be one with {', '.join(sorted(known))}.")
    if unknown := sorted(set(said) - known):
        names = ", ".join(map(repr, unknown))
        raise Unacceptable(f"This {what} says {names}, which is not understood: it may say {', '.join(sorted(known))}.")


def _checked(what: str, built: Callable[[], _Value]) -> _Value:
    try:
        return built()
    except RegistryError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unacceptable(f"This is no {what}: {error!r}.") from error


def _canonical(value: Mapping[str, Any] | list[Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _readable(blob: bytes | str) -> dict[str, Any]:
    try:
        said = json.loads(blob)
        reader = said.pop("reader")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unacceptable(f"These bytes are no version: {error!r}.") from error
    if type(reader) is not int or not 1 <= reader <= READER:
        raise Unacceptable(f"This version is written for readers of form {reader!r}; this one reads up to {READER}.")
    return dict(said)
