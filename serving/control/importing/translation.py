"""From what a tracking server says and hands over to what we register. No network, and no library of MLflow's.

Whatever can be carried over is; what cannot (a metric that is no number, a tag that is too long) is left out with a
sentence, for a version is worth more than its notes. Only what a server would be started with is refused: the files
and the signature.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from registry.errors import Unacceptable
from registry.kinds import ArtifactKind
from registry.models import LONGEST_TEXT, MOST_PAIRS, TrainingData
from registry.signature import Signature, TensorSpec
from serving.control.importing import examples, flavors, signatures
from serving.control.importing.facts import Dataset, Facts, Run
from serving.control.importing.flavors import Chosen
from serving.control.importing.signatures import Translated

COMMIT = "mlflow.source.git.commit"

_SYSTEM = "mlflow."
_TRAINING = frozenset({"training", "train"})
_Value = TypeVar("_Value")

Inspect = Callable[[Path, str], str | None]
"""(folder, kind) -> the signature as JSON text in the form of `signature.json`; None where the files do not say."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A version as it was brought over.

    Attributes:
        number: of the version on the tracking server.
        kind: of the artifact.
        signature: what it takes and gives.
        parameters: of the run.
        metrics: of the run, the finite ones.
        tags: of the run and the version, and where it comes from.
        data: what it was trained on.
        code_revision: the commit that made it.
        example: the JSON body of a v2 inference request.
        aliases: that point at it there.
        left_out: what did not come along, a sentence each.
    """

    number: int
    kind: ArtifactKind
    signature: Signature
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    data: TrainingData | None = None
    code_revision: str = ""
    example: str | None = None
    aliases: Sequence[str] = ()
    left_out: Sequence[str] = ()


def translate(facts: Facts, model: Path, artifact: Path, inspect: Inspect, *, allow_pickle: bool) -> Imported:
    """The version in our terms; its files are moved from one folder to the other.

    Args:
        facts: what the tracking server says.
        model: the folder of its files as MLflow saved them.
        artifact: the folder of the artifact, which is made.
        inspect: reads a signature from the files of an artifact.
        allow_pickle: whether a scikit-learn model may come as a pickle.

    Raises:
        Unacceptable: it has no flavor that can be served, or no usable signature.
    """
    left: list[str] = []
    saved = flavors.read(model)
    chosen = flavors.choose(saved, allow_pickle=allow_pickle)
    chosen.place(artifact)
    taken = _signature(saved, chosen, artifact, inspect)
    run = facts.run or Run()
    if facts.run is None:
        left.append(
            "The run that made the version is not there any more, so its parameters and metrics are not either."
        )
    return Imported(
        number=facts.version,
        kind=chosen.kind,
        signature=taken.signature,
        parameters=_kept("parameter", run.params, _is_text, left),
        metrics=_kept("metric", run.metrics, math.isfinite, left),
        tags=_kept("tag", _tags(facts, run, taken.columns), _is_text, left),
        data=_data(run.datasets, left),
        code_revision=run.tags.get(COMMIT, "")[:LONGEST_TEXT],
        example=_example(saved, taken, left),
        aliases=tuple(facts.aliases),
        left_out=tuple(left),
    )


def _signature(saved: flavors.Model, chosen: Chosen, artifact: Path, inspect: Inspect) -> Translated:
    """What the model takes and gives. An ONNX model says itself, with the names by which Triton asks it."""
    if chosen.kind is not ArtifactKind.ONNX:
        return signatures.translate(saved.said.get("signature"), output=chosen.output)
    text = inspect(artifact, chosen.kind.value)
    if text is None:
        raise Unacceptable(
            "The ONNX model does not say what it takes and gives.", "Export it again with named tensors."
        )
    said: Mapping[str, Any] = json.loads(text)
    named = Signature(*(tuple(map(_tensor, said[what])) for what in ("inputs", "outputs")))
    # Of MLflow's signature only the order of the columns is of use, for the example.
    with suppress(Unacceptable):
        if len(named.inputs) == 1:
            return Translated(named, signatures.translate(saved.said.get("signature")).columns)
    return Translated(named)


def _tensor(said: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(said["name"], said["datatype"], tuple(said["shape"]), bool(said.get("optional", False)))


def _tags(facts: Facts, run: Run, columns: Sequence[str]) -> Mapping[str, str]:
    """Ours last: whoever set a tag of that name did not know where the version would go."""
    said = {name: text for name, text in run.tags.items() if not name.startswith(_SYSTEM)}
    ours = {
        "mlflow.model": facts.name,
        "mlflow.version": str(facts.version),
        "mlflow.run_id": facts.run_id,
        "mlflow.description": facts.description,
        "mlflow.columns": json.dumps(list(columns)) if any(columns) else "",
    }
    return {**said, **facts.tags, **{name: text for name, text in ours.items() if text}}


def _kept(
    what: str, pairs: Mapping[str, _Value], usable: Callable[[_Value], bool], left: list[str]
) -> Mapping[str, _Value]:
    kept: dict[str, _Value] = {}
    for name, value in sorted(pairs.items()):
        if len(kept) == MOST_PAIRS:
            left.append(f"Only {MOST_PAIRS:,} {what}s are kept, so {len(pairs) - MOST_PAIRS:,} or more are left out.")
            break
        if name and _is_text(name) and usable(value):
            kept[name] = value
        else:
            left.append(f"The {what} {name[:80]!r} is left out: it is {_ail(value)}.")
    return kept


def _is_text(value: str) -> bool:
    # Half a character of UTF-16 is what JSON can hold and UTF-8 cannot.
    return len(value) <= LONGEST_TEXT and not any("\ud800" <= one <= "\udfff" for one in value)


def _ail(value: object) -> str:
    return (
        f"no text of at most {LONGEST_TEXT:,} characters"
        if isinstance(value, str)
        else f"{value}, and not a finite number"
    )


def _data(datasets: Sequence[Dataset], left: list[str]) -> TrainingData | None:
    """The data set that was logged for training, or the only one; None where none, or nobody counted its rows."""
    named = [one for one in datasets if one.context.lower() in _TRAINING] or list(datasets)
    if not named:
        return None
    if len(named) > 1:
        left.append(f"The run logged {len(named)} data sets for training: the first one, {named[0].name!r}, is kept.")
    rows = _rows(named[0].profile)
    if rows is None or not named[0].digest:
        left.append(
            f"The data set {named[0].name!r} ({named[0].digest}) is left out: it does not say how many rows it has."
        )
        return None
    return TrainingData(named[0].digest[:LONGEST_TEXT], rows)


def _rows(profile: str) -> int | None:
    """A profile's number of rows: each kind of data set spells it in its own way."""
    try:
        said: Mapping[str, Any] = json.loads(profile)
        found = said.get("num_rows", said.get("approx_count"))
        if found is None:
            shape = said.get("features_shape")
            found = next(iter(shape.values()))[0] if isinstance(shape, Mapping) else shape[0]  # type: ignore[index]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, StopIteration):
        return None
    return found if type(found) is int and found >= 0 else None


def _example(saved: flavors.Model, taken: Translated, left: list[str]) -> str | None:
    info = saved.said.get("saved_input_example_info")
    name = info.get("serving_input_path") if isinstance(info, Mapping) else None
    if not name:
        return None
    try:
        return examples.translate(saved.file(name).read_text(), taken.signature, taken.columns)
    except (examples.Unwritable, Unacceptable, OSError, UnicodeDecodeError) as error:
        left.append(f"The input example is left out: {str(error).rstrip('.')}.")
        return None
