"""From an artifact folder to a Triton model repository that holds one version of one model, and nothing else.

An artifact folder is either a torch program (`model.pt2`, saved by torch.export with a dynamic batch dimension,
and `signature.json`), for which the configuration and the Python-backend model are written here, or a Triton model
directory that is ready as it is (`config.pbtxt` and a version's folder), in which only name and version policy are
set. Whatever could break the configuration or leave the folder is refused before anything is written.

`signature.json` gives the tensors by Triton's own datatype names, shapes without the batch dimension, -1 for a
dimension that varies:

    {"inputs":  [{"name": "pixels", "datatype": "FP32", "shape": [64]}],
     "outputs": [{"name": "scores", "datatype": "FP32", "shape": [10], "labels": ["zero", "one", ...]}]}

`labels` (one for each element of an output) is optional and serves Triton's classification extension.

Starting a server on the repository is `process.py`'s; what the model does is `backends/torch_export.py`'s.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from serving.endpoint import MODEL_NAME
from serving.errors import SluiceError
from serving.triton.files import place, place_tree

PROGRAM = "model.pt2"
SIGNATURE = "signature.json"
EXAMPLE = "example.json"
"""A v2 inference request body for warming up; optional in every kind of artifact folder."""

_CONFIGURATION = "config.pbtxt"
_BACKEND = Path(__file__).with_name("backends") / "torch_export.py"
_TENSOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}")
_LARGEST_VERSION = 2**63 - 1

# BYTES and BF16 are missing: torch has no strings, and numpy, in which Triton hands tensors over, no bfloat16.
_CONFIG_TYPES: Mapping[str, str] = MappingProxyType(
    {
        name: f"TYPE_{name}"
        for name in (
            *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
            *("FP16", "FP32", "FP64"),
        )
    }
)


class ArtifactRefused(SluiceError):  # noqa: N818 - named after what happened; SluiceError says that it is an error
    """An artifact folder, or what was asked of it, cannot be served."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of one model, and how it is to be run.

    Args:
        name: the model's name, as in Triton's paths.
        version: 1 or more, as in Triton's paths.
        path: the artifact folder.
        device: "cpu", or "gpu" for one CUDA device.
        instance_count: how many copies run at once in one server.
        max_batch_size: how many rows are merged into one forward pass at most; 0: requests are never merged.
        batch_delay_us: how many microseconds a request waits for company; 0: no longer than it must.
        threads: how many threads torch may use in one instance.

    The last four concern torch programs; a ready Triton directory says the same in its own configuration.
    """

    name: str
    version: int
    path: Path
    device: str = "cpu"
    instance_count: int = 1
    max_batch_size: int = 64
    batch_delay_us: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuses what could not be served.

        Raises:
            ArtifactRefused: naming the value and what is allowed.
        """
        if not isinstance(self.name, str) or not MODEL_NAME.fullmatch(self.name):
            raise ArtifactRefused(f"The model's name is {self.name!r}: it must match {MODEL_NAME.pattern}.")
        if self.device not in {"cpu", "gpu"}:
            raise ArtifactRefused(f"The device of {self.name} is {self.device!r}: it must be 'cpu' or 'gpu'.")
        _number("version", self.version, 1, _LARGEST_VERSION)
        _number("instance_count", self.instance_count, 1, 1_024)
        _number("max_batch_size", self.max_batch_size, 0, 1_000_000)
        _number("batch_delay_us", self.batch_delay_us, 0, 10_000_000)
        _number("threads", self.threads, 1, 1_024)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output.

    Args:
        name: as in requests.
        datatype: Triton's name of it, such as FP32.
        shape: without the batch dimension; -1 for a dimension that varies.
        labels: a name for each element; empty for none.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses what a configuration cannot say.

        Raises:
            ArtifactRefused: naming the value and what is allowed.
        """
        if not isinstance(self.name, str) or not _TENSOR_NAME.fullmatch(self.name):
            raise ArtifactRefused(f"A tensor's name is {self.name!r}: it must match {_TENSOR_NAME.pattern}.")
        if self.datatype not in _CONFIG_TYPES:
            raise ArtifactRefused(
                f"The datatype of {self.name} is {self.datatype!r}: it must be one of {', '.join(_CONFIG_TYPES)}."
            )
        if not self.shape or any(type(size) is not int or (size < 1 and size != -1) for size in self.shape):
            raise ArtifactRefused(
                f"The shape of {self.name} is {list(self.shape)}: it must be a list of sizes without the batch "
                "dimension, each 1 or more, or -1 where it varies."
            )
        if any(not isinstance(label, str) or not label.isprintable() for label in self.labels):
            raise ArtifactRefused(f"The labels of {self.name} must be printable texts of one line each.")


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        """Refuses a signature without inputs or outputs, or with a name used twice, or with labels on an input.

        Raises:
            ArtifactRefused: with what is wrong.
        """
        for what, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            names = [tensor.name for tensor in tensors]
            if not names or len(set(names)) < len(names):
                raise ArtifactRefused(f"The signature's {what} are {names}: there must be at least one, none twice.")
        if labelled := [tensor.name for tensor in self.inputs if tensor.labels]:
            raise ArtifactRefused(f"The signature gives labels for {labelled}: only outputs have labels.")


@dataclass(frozen=True, slots=True)
class Repository:
    """A Triton model repository that was written.

    Args:
        folder: for Triton's --model-repository.
        complete: whether the configuration says everything, so that Triton need not start the model once more to ask.
        example: a v2 inference request body to warm up with; None where the artifact has none.
    """

    folder: Path
    complete: bool
    example: Path | None = None


def read_signature(text: str | bytes) -> Signature:
    """The signature that a `signature.json` holds.

    Raises:
        ArtifactRefused: it is not JSON, or lacks something, or a value is not allowed.
    """
    try:
        known = json.loads(text)
        return Signature(_tensors(known["inputs"]), _tensors(known["outputs"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactRefused(
            f"{SIGNATURE} is not an object with 'inputs' and 'outputs', each a list of objects with 'name', "
            f"'datatype' and 'shape': {error!r}."
        ) from error


def configuration(spec: ModelVersion, signature: Signature) -> str:
    """The config.pbtxt of a torch program."""
    # To Triton, a model that does not batch has no batch dimension: then it is one more dimension that varies.
    rows = () if spec.max_batch_size else (-1,)
    batching = (f"dynamic_batching {{ max_queue_delay_microseconds: {spec.batch_delay_us} }}",)
    return "\n".join(
        (
            f"name: {_quoted(spec.name)}",
            'backend: "python"',
            f"max_batch_size: {spec.max_batch_size}",
            *(_tensor_block("input", tensor, rows) for tensor in signature.inputs),
            *(_tensor_block("output", tensor, rows) for tensor in signature.outputs),
            f"instance_group [ {{ count: {spec.instance_count} kind: KIND_{spec.device.upper()} }} ]",
            f"version_policy {{ specific {{ versions: [ {spec.version} ] }} }}",
            *(batching if spec.max_batch_size else ()),
            f'parameters {{ key: "threads" value {{ string_value: "{spec.threads}" }} }}',
            "",
        )
    )


def write_repository(spec: ModelVersion, folder: Path) -> Repository:
    """Makes the folder anew, as a repository with this one version of this one model in it.

    Raises:
        ArtifactRefused: the artifact folder is not one of the two kinds, or says what cannot be served.
        OSError: the folder cannot be written.
    """
    artifact = spec.path
    if not artifact.is_dir():
        raise ArtifactRefused(f"The artifact folder of {spec.name} version {spec.version}, {artifact}, is missing.")
    if folder.exists():
        shutil.rmtree(folder)
    torch_program = (artifact / PROGRAM).is_file()
    if torch_program:
        _write_torch(spec, folder / spec.name)
    elif (artifact / _CONFIGURATION).is_file():
        _write_ready(spec, folder / spec.name)
    else:
        raise ArtifactRefused(
            f"{artifact} holds no model: it needs {PROGRAM} and {SIGNATURE}, or config.pbtxt and a version's folder."
        )
    example = artifact / EXAMPLE
    return Repository(folder, torch_program, example if example.is_file() else None)


def _write_torch(spec: ModelVersion, model: Path) -> None:
    try:
        signature = read_signature((spec.path / SIGNATURE).read_bytes())
    except FileNotFoundError as error:
        raise ArtifactRefused(f"{spec.path} holds {PROGRAM} but no {SIGNATURE}.") from error
    version = model / str(spec.version)
    place(spec.path / PROGRAM, version / PROGRAM)
    shutil.copyfile(_BACKEND, version / "model.py")
    (model / _CONFIGURATION).write_text(configuration(spec, signature))
    for tensor in signature.outputs:
        if tensor.labels:
            (model / _label_file(tensor)).write_text("".join(f"{label}\n" for label in tensor.labels))


def _write_ready(spec: ModelVersion, model: Path) -> None:
    chosen = _version_folder(spec)
    text = _renamed(spec, (spec.path / _CONFIGURATION).read_text())
    for entry in sorted(spec.path.iterdir()):
        # Other versions stay behind: one server serves one version. So does what is ours, not Triton's.
        if entry.name.isdigit() or entry.name in {_CONFIGURATION, EXAMPLE, SIGNATURE}:
            continue
        (place_tree if entry.is_dir() else place)(entry, model / entry.name)
    place_tree(chosen, model / str(spec.version))
    (model / _CONFIGURATION).write_text(text)


def _version_folder(spec: ModelVersion) -> Path:
    """The folder of the version that is asked for, or the only one that there is."""
    versions = [entry for entry in spec.path.iterdir() if entry.is_dir() and entry.name.isdigit()]
    named = [entry for entry in versions if entry.name == str(spec.version)]
    if len(chosen := named or versions) != 1:
        found = ", ".join(sorted(entry.name for entry in versions)) or "none"
        raise ArtifactRefused(f"{spec.path} has no folder for version {spec.version}; the versions in it are: {found}.")
    return chosen[0]


def _renamed(spec: ModelVersion, text: str) -> str:
    """A ready config.pbtxt with this name and this version policy; parsed and printed, never patched as text."""
    # Here, not above: it brings gRPC along, which no torch program needs.
    from google.protobuf import text_format  # type: ignore[import-untyped]  # noqa: PLC0415
    from tritonclient.grpc.model_config_pb2 import ModelConfig  # noqa: PLC0415

    config = ModelConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise ArtifactRefused(f"{spec.path / _CONFIGURATION} is not a model configuration: {error}.") from error
    config.name = spec.name
    config.version_policy.specific.versions[:] = [spec.version]
    return str(text_format.MessageToString(config))


def _tensors(listed: Sequence[Mapping[str, object]]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(
            name=str(entry["name"]),
            datatype=str(entry["datatype"]),
            shape=_items(entry["shape"]),
            labels=_items(entry.get("labels", ())),
        )
        for entry in listed
    )


def _items(value: object) -> tuple[Any, ...]:
    """A list's elements, whatever they are: Tensor looks at each."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} is not a list")
    return tuple(value)


def _tensor_block(kind: str, tensor: Tensor, rows: tuple[int, ...]) -> str:
    labels = f" label_filename: {_quoted(_label_file(tensor))}" if tensor.labels else ""
    return (
        f"{kind} [ {{ name: {_quoted(tensor.name)} data_type: {_CONFIG_TYPES[tensor.datatype]} "
        f"dims: {[*rows, *tensor.shape]}{labels} }} ]"
    )


def _label_file(tensor: Tensor) -> str:
    """One for each name, also where a name has characters that a file's may not have."""
    return re.sub(r"[^A-Za-z0-9_]", lambda found: f"-{ord(found[0]):x}-", tensor.name) + ".labels.txt"


def _quoted(text: str) -> str:
    """As protobuf's text format quotes it; the names that get here are plain ASCII, where JSON does the same."""
    return json.dumps(text)


def _number(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ArtifactRefused(f"{name} is {value!r}: it must be a whole number from {least} to {most}.")
