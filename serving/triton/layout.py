"""From an artifact folder to a Triton model repository that holds one version of one model, and nothing else.

What is in the folder is told from its files (`registry.kinds`), with what it runs is `runtimes.py`'s, what Triton is
told about it `configuration.py`'s. A Triton model directory is taken as it is, but for name, version policy and the
options that somebody set; of anything else the model file is placed under a fixed name, beside a wrapper where one
runs it. Whatever could break the configuration or leave the folder is refused before anything is written.

Starting a server on the repository is `process.py`'s.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.errors import Unacceptable
from registry.kinds import ArtifactKind, kind_of, model_file
from serving.triton import configuration, inspecting
from serving.triton.binary import TritonBinary
from serving.triton.configuration import CONFIGURATION
from serving.triton.files import place, place_tree
from serving.triton.flags import refuse_missing_cache
from serving.triton.runtimes import PYTHON, RUNTIMES, Runtime, backend_for, check
from serving.triton.signature import SIGNATURE, Signature, Tensor, read_signature
from serving.triton.version import ArtifactRefused, ModelVersion

__all__ = (
    "EXAMPLE",
    "ArtifactRefused",
    "ModelVersion",
    "Repository",
    "Signature",
    "Tensor",
    "config_text",
    "read_signature",
    "write_repository",
)

EXAMPLE = "example.json"
"""A v2 inference request body for warming up; optional in every kind of artifact folder."""

_BACKENDS = Path(__file__).with_name("backends")
_SHARED = "rows.py"
_MODEL = "model.py"


@dataclass(frozen=True, slots=True)
class Repository:
    """A Triton model repository that was written.

    Args:
        folder: for Triton's --model-repository.
        complete: whether the configuration says everything, so that Triton need not start the model once more to ask.
        example: a v2 inference request body to warm up with; None where the artifact has none.
        response_cache: whether the model answers from the server's cache, which the server then needs.
        rate_limits: the rate limiter's resources that the server then needs, and how much of each.
        capacity: how many requests the server then works on at once.
        priority_levels: that the model's queue has; 0 for none.
    """

    folder: Path
    complete: bool
    example: Path | None = None
    response_cache: bool = False
    rate_limits: Mapping[str, int] = field(default_factory=dict)
    capacity: int = 1
    priority_levels: int = 0


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be written; made without writing anything.

    Attributes:
        config: the ModelConfig.
        runtime: with what it runs; None for a Triton directory.
        backend: which of the runtime's backends.
        labels: the lines of each file of labels.
    """

    config: Any
    runtime: Runtime | None = None
    backend: str = ""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def write_repository(spec: ModelVersion, folder: Path, binary: TritonBinary | None = None) -> Repository:
    """Makes the folder anew, as a repository with this one version of this one model in it.

    Args:
        spec: what to lay out.
        folder: where.
        binary: the server that is going to serve it; None for one of which nothing but the Python backend is known.

    Raises:
        ArtifactRefused: the artifact folder is of no kind that can be served, or says what cannot be served.
        StartFailed: the server has no response cache, and one is asked for.
        OSError: the folder cannot be written.
    """
    artifact = spec.path
    if not _is_there(spec):
        raise ArtifactRefused(f"The artifact folder of {spec}, {artifact}, is missing.")
    plan = _plan(spec, binary)
    if plan.config.response_cache.enable and binary is not None:
        refuse_missing_cache(binary)
    if folder.exists():
        shutil.rmtree(folder)
    model = folder / spec.name
    if plan.runtime is None:
        _place_ready(spec, model)
    else:
        _place_model(spec, plan, plan.runtime, model)
    (model / CONFIGURATION).write_text(configuration.written(plan.config))
    example = artifact / EXAMPLE
    return Repository(
        folder,
        complete=plan.runtime is not None,
        example=example if example.is_file() else None,
        response_cache=bool(plan.config.response_cache.enable),
        rate_limits=configuration.rate_limits(plan.config),
        capacity=configuration.capacity(plan.config),
        priority_levels=configuration.priority_levels(plan.config),
    )


def config_text(spec: ModelVersion, binary: TritonBinary | None = None) -> str:
    """The config.pbtxt that the version would be served with on that server; nothing is written or started.

    Where kind and signature are given, the folder is needed for a Triton directory's config.pbtxt only.

    Raises:
        ArtifactRefused: there is none, or it contradicts an option.
    """
    return configuration.written(_plan(spec, binary).config)


def _plan(spec: ModelVersion, binary: TritonBinary | None) -> _Plan:
    kind = _kind(spec)
    if kind is ArtifactKind.TRITON:
        return _Plan(configuration.adapted(spec, _ready_text(spec)))
    runtime = RUNTIMES[kind]
    signature = _signature(spec)
    check(runtime, signature, spec.options.device)
    backend = backend_for(runtime, signature, binary)
    ranks = _ranks(spec) if backend == "onnxruntime" else {}
    labels = {configuration.label_file(one): one.labels for one in signature.outputs if one.labels}
    return _Plan(configuration.generated(spec, runtime, signature, backend, ranks), runtime, backend, labels)


def _kind(spec: ModelVersion) -> ArtifactKind:
    if spec.kind:
        return ArtifactKind(spec.kind)
    if (spec.path / CONFIGURATION).is_file():
        return ArtifactKind.TRITON
    try:
        return kind_of(_files(spec), allow_pickle=spec.allow_pickle)
    except Unacceptable as error:
        raise ArtifactRefused(f"{spec.path} holds no model that can be served: {error.sentence}", error.hint) from error


def _model_file(spec: ModelVersion, kind: ArtifactKind) -> Path:
    files = _files(spec)
    try:
        kind_of(files, kind, allow_pickle=spec.allow_pickle)
        return spec.path / model_file(files, allow_pickle=spec.allow_pickle)
    except Unacceptable as error:
        raise ArtifactRefused(f"{spec.path} holds no model that can be served: {error.sentence}", error.hint) from error


def _ranks(spec: ModelVersion) -> Mapping[str, int]:
    """Of the ONNX model's tensors, where the model is at hand."""
    there = _is_there(spec) and any(spec.path.glob("*.onnx"))
    return inspecting.onnx_ranks(_model_file(spec, ArtifactKind.ONNX)) if there else {}


def _is_there(spec: ModelVersion) -> bool:
    """Whether the version has a folder; an empty path is no folder, not the current one."""
    return bool(spec.path.parts) and spec.path.is_dir()


def _files(spec: ModelVersion) -> list[str]:
    return [entry.name for entry in sorted(spec.path.iterdir()) if entry.is_file()]


def _signature(spec: ModelVersion) -> Signature:
    """What was given, with the labels of the folder's own signature, which nobody else knows; else the latter."""
    file = spec.path / SIGNATURE
    own = read_signature(file.read_bytes()) if _is_there(spec) and file.is_file() else None
    if spec.signature:
        given = read_signature(spec.signature)
        return given.labelled_as(own) if own else given
    if own is None:
        raise ArtifactRefused(f"{spec.path} holds a model but no {SIGNATURE}.", f"Put {SIGNATURE} beside the model.")
    return own


def _ready_text(spec: ModelVersion) -> str:
    try:
        return (spec.path / CONFIGURATION).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactRefused(f"The {CONFIGURATION} of {spec} in {spec.path} cannot be read: {error}.") from error


def _place_model(spec: ModelVersion, plan: _Plan, runtime: Runtime, model: Path) -> None:
    file = _model_file(spec, runtime.kind)
    version = model / str(spec.version)
    place(file, version / f"model{file.suffix}")
    if plan.backend == PYTHON:
        shutil.copyfile(_BACKENDS / runtime.wrapper, version / _MODEL)
        shutil.copyfile(_BACKENDS / _SHARED, version / _SHARED)
    if runtime.companions:
        _place_companions(spec.path, file, version)
    for name, labels in plan.labels.items():
        (model / name).write_text("".join(f"{label}\n" for label in labels))


def _place_companions(artifact: Path, file: Path, version: Path) -> None:
    """What may belong to the model, such as an ONNX model's weights, which it names by their path beside it."""
    for entry in sorted(artifact.iterdir()):
        if entry != file and entry.name not in {_MODEL, _SHARED, SIGNATURE, EXAMPLE, CONFIGURATION}:
            (place_tree if entry.is_dir() else place)(entry, version / entry.name)


def _place_ready(spec: ModelVersion, model: Path) -> None:
    chosen = _version_folder(spec)
    for entry in sorted(spec.path.iterdir()):
        # Other versions stay behind: one server serves one version. So does what is ours, not Triton's.
        if entry.name.isdigit() or entry.name in {CONFIGURATION, EXAMPLE, SIGNATURE}:
            continue
        (place_tree if entry.is_dir() else place)(entry, model / entry.name)
    place_tree(chosen, model / str(spec.version))


def _version_folder(spec: ModelVersion) -> Path:
    """The folder of the version that is asked for, or the only one that there is."""
    versions = [entry for entry in spec.path.iterdir() if entry.is_dir() and entry.name.isdigit()]
    named = [entry for entry in versions if entry.name == str(spec.version)]
    if len(chosen := named or versions) != 1:
        found = ", ".join(sorted(entry.name for entry in versions)) or "none"
        raise ArtifactRefused(f"{spec.path} has no folder for version {spec.version}; the versions in it are: {found}.")
    return chosen[0]
