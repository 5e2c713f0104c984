"""What is different between two versions: parameters, metrics, data, files and signature. Pure; nothing is ranked.

Whether a difference is good is not said here: that 0.93 is better than 0.91 is known to whoever chose the metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.models import Contents, Parameter, Version


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs; None where a version does not have it."""

    name: str
    before: Parameter | None
    after: Parameter | None

    @property
    def change(self) -> float | None:
        """By how much, where both are numbers."""
        if _is_number(self.before) and _is_number(self.after):
            return float(self.after) - float(self.before)  # type: ignore[arg-type]  # both were looked at
        return None


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """All that differs, by what it is about; each part is empty where nothing does.

    Attributes:
        parameters: of the training.
        metrics: numbers by name.
        data: the training data's fingerprint and rows.
        made_of: the artifact's kind, digest and size, code revision, parent, baseline, example.
        tags: texts by name.
        signature: the tensors that only one of the two has, as text.
        objections: why `after` could not serve the clients of `before`, a sentence each.
    """

    parameters: tuple[Difference, ...]
    metrics: tuple[Difference, ...]
    data: tuple[Difference, ...]
    made_of: tuple[Difference, ...]
    tags: tuple[Difference, ...]
    signature: tuple[Difference, ...]
    objections: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return any((self.parameters, self.metrics, self.data, self.made_of, self.tags, self.signature))


def diff(before: Version, after: Version) -> VersionDiff:
    """What is different in `after`."""
    old, new = before.contents, after.contents
    return VersionDiff(
        parameters=_differences(old.parameters, new.parameters),
        metrics=_differences(old.metrics, new.metrics),
        data=_differences(_data(old), _data(new)),
        made_of=_differences(_made_of(old), _made_of(new)),
        tags=_differences(old.tags, new.tags),
        signature=_differences(_tensors(old), _tensors(new)),
        objections=new.signature.objections(old.signature),
    )


def _differences(
    before: Mapping[str, Parameter | None], after: Mapping[str, Parameter | None]
) -> tuple[Difference, ...]:
    pairs = ((name, before.get(name), after.get(name)) for name in sorted({*before, *after}))
    # True equals 1 and 1 equals 1.0, and all three are different things to have trained with.
    return tuple(Difference(name, old, new) for name, old, new in pairs if (type(old), old) != (type(new), new))


def _data(contents: Contents) -> Mapping[str, Parameter | None]:
    data = contents.data
    return {} if data is None else {"fingerprint": data.fingerprint, "rows": data.rows}


def _made_of(contents: Contents) -> Mapping[str, Parameter | None]:
    return {
        "kind": contents.artifact.kind.value,
        "digest": contents.artifact.digest,
        "size_bytes": contents.artifact.size_bytes,
        "code_revision": contents.code_revision,
        "parent": contents.parent,
        "baseline_digest": contents.baseline_digest,
        "example": contents.example,
    }


def _tensors(contents: Contents) -> Mapping[str, Parameter | None]:
    signature = contents.signature
    inputs = {f"input {tensor.name}": str(tensor) for tensor in signature.inputs}
    return inputs | {f"output {tensor.name}": str(tensor) for tensor in signature.outputs}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
