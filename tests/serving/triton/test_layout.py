"""Artifact folders become repositories of one version each, and what could break them is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.triton.layout import (
    ArtifactRefused,
    ModelVersion,
    Signature,
    Tensor,
    configuration,
    read_signature,
    write_repository,
)


def tensors(labels: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[tuple[Tensor, ...]]:
    """One to three tensors of different names."""
    tensor = st.builds(
        Tensor,
        name=st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,30}\Z"),
        datatype=st.sampled_from(["BOOL", "UINT8", "INT64", "FP16", "FP32", "FP64"]),
        shape=st.lists(st.integers(1, 10_000) | st.just(-1), min_size=1, max_size=4).map(tuple),
        labels=labels,
    )
    return st.lists(tensor, min_size=1, max_size=3, unique_by=lambda one: one.name).map(tuple)


SIGNATURES = st.builds(
    Signature,
    inputs=tensors(st.just(())),
    outputs=tensors(st.just(()) | st.just(("a", "b"))),
)
_WRONG_TENSORS: tuple[dict[str, Any], ...] = (
    {"name": 'x" }'},
    {"name": ""},
    {"datatype": "BYTES"},
    {"datatype": "float32"},
    {"shape": []},
    {"shape": [0]},
    {"shape": [True]},
    {"shape": ["4"]},
    {"shape": 4},
    {"labels": "abc"},
    {"labels": ["a\nb"]},
    {"labels": ["only outputs have labels"]},
)
SPECS = st.builds(
    ModelVersion,
    name=st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,40}\Z"),
    version=st.integers(1, 2**63 - 1),
    path=st.just(Path("/artifacts")),
    device=st.sampled_from(["cpu", "gpu"]),
    instance_count=st.integers(1, 8),
    max_batch_size=st.integers(0, 512),
    batch_delay_us=st.integers(0, 1_000),
    threads=st.integers(1, 16),
)
SIGNATURE: dict[str, Any] = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [4]}],
    "outputs": [{"name": "y", "datatype": "INT64", "shape": [1], "labels": ["no"]}],
}


def parsed(text: str) -> Any:  # noqa: ANN401 - tritonclient ships no types
    """A configuration as Triton would read it."""
    return text_format.Parse(text, ModelConfig())


def torch_artifact(folder: Path, signature: object = SIGNATURE) -> Path:
    """An artifact folder with a program that nobody opens here."""
    folder.mkdir(parents=True)
    (folder / "model.pt2").write_bytes(b"program")
    (folder / "signature.json").write_text(json.dumps(signature))
    return folder


def ready_artifact(folder: Path, config: str, *versions: int) -> Path:
    """A Triton model directory with these versions."""
    for version in versions:
        (folder / str(version)).mkdir(parents=True)
        (folder / str(version) / "model.py").write_text(f"# {version}")
    (folder / "config.pbtxt").write_text(config)
    return folder


@given(SPECS, SIGNATURES)
def test_a_configuration_says_what_the_spec_says(spec: ModelVersion, signature: Signature) -> None:
    """Whatever the names and sizes, protobuf reads back exactly what was asked for."""
    config = parsed(configuration(spec, signature))
    assert (config.name, config.backend, config.max_batch_size) == (spec.name, "python", spec.max_batch_size)
    assert list(config.version_policy.specific.versions) == [spec.version]
    assert [tensor.name for tensor in config.input] == [tensor.name for tensor in signature.inputs]
    rows = [] if spec.max_batch_size else [-1]
    assert [list(tensor.dims) for tensor in config.output] == [[*rows, *one.shape] for one in signature.outputs]
    assert config.instance_group[0].kind == {"cpu": 2, "gpu": 1}[spec.device]
    assert config.instance_group[0].count == spec.instance_count
    assert config.HasField("dynamic_batching") == (spec.max_batch_size > 0)
    assert config.parameters["threads"].string_value == str(spec.threads)


def test_a_torch_program_is_laid_out(tmp_path: Path) -> None:
    """A repository holds the model's one version: program, wrapper, configuration and labels."""
    artifact = torch_artifact(tmp_path / "artifact")
    made = write_repository(ModelVersion("m", 7, artifact), tmp_path / "repository")
    assert made.complete
    assert made.example is None
    files = {str(file.relative_to(made.folder)) for file in made.folder.rglob("*") if file.is_file()}
    assert files == {"m/config.pbtxt", "m/7/model.pt2", "m/7/model.py", "m/y.labels.txt"}
    assert "TritonPythonModel" in (made.folder / "m/7/model.py").read_text()


def test_a_repository_is_made_anew(tmp_path: Path) -> None:
    """What an earlier replica left in the folder is gone."""
    stale = tmp_path / "repository" / "other" / "1" / "model.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    write_repository(ModelVersion("m", 7, torch_artifact(tmp_path / "artifact")), tmp_path / "repository")
    assert not stale.exists()


def test_a_ready_directory_gets_name_and_version(tmp_path: Path) -> None:
    """A ready directory keeps its configuration but for name and version policy; other versions stay behind."""
    config = (
        'name: "other" # comment\nbackend: "python"\nversion_policy { latest { num_versions: 3 } }\nmax_batch_size: 3'
    )
    artifact = ready_artifact(tmp_path / "artifact", config, 1, 2)
    (artifact / "labels.txt").write_text("a")
    (artifact / "example.json").write_text("{}")
    made = write_repository(ModelVersion("m", 2, artifact), tmp_path / "repository")
    assert not made.complete
    assert made.example == artifact / "example.json"
    files = {str(file.relative_to(made.folder)) for file in made.folder.rglob("*") if file.is_file()}
    assert files == {"m/config.pbtxt", "m/2/model.py", "m/labels.txt"}
    found = parsed((made.folder / "m/config.pbtxt").read_text())
    assert (found.name, found.max_batch_size) == ("m", 3)
    assert list(found.version_policy.specific.versions) == [2]


def test_the_only_version_of_a_ready_directory_may_have_another_number(tmp_path: Path) -> None:
    """A directory with one version folder serves as whatever version is asked for."""
    artifact = ready_artifact(tmp_path / "artifact", 'backend: "python"', 1)
    made = write_repository(ModelVersion("m", 9, artifact), tmp_path / "repository")
    assert (made.folder / "m/9/model.py").read_text() == "# 1"


@pytest.mark.parametrize(
    ("config", "versions", "said"),
    [
        ('backend: "python"', (1, 2), "no folder for version 9"),
        ('backend: "python"', (), "no folder for version 9"),
        ("backend: {", (9,), "not a model configuration"),
        ("no_such_field: 1", (9,), "not a model configuration"),
    ],
)
def test_a_broken_ready_directory_is_refused(tmp_path: Path, config: str, versions: tuple[int, ...], said: str) -> None:
    """A directory without the version, or with a configuration that Triton could not read, is refused."""
    (tmp_path / "artifact").mkdir()
    artifact = ready_artifact(tmp_path / "artifact", config, *versions)
    with pytest.raises(ArtifactRefused, match=said):
        write_repository(ModelVersion("m", 9, artifact), tmp_path / "repository")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    """A missing folder, an empty one, and a program without a signature are refused in one sentence each."""
    empty = tmp_path / "empty"
    empty.mkdir()
    unsigned = torch_artifact(tmp_path / "unsigned")
    (unsigned / "signature.json").unlink()
    for folder, said in ((tmp_path / "no", "missing"), (empty, "holds no model"), (unsigned, "no signature.json")):
        with pytest.raises(ArtifactRefused, match=said) as refused:
            write_repository(ModelVersion("m", 1, folder), tmp_path / "repository")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        *[{"name": bad} for bad in ("", "..", "../up", "a/b", 'a"b', "a\nb", "a b", "-a", "x" * 200)],
        *[{"version": bad} for bad in (0, -1, True, "1", 2**63)],
        {"device": "tpu"},
        {"instance_count": 0},
        {"max_batch_size": -1},
        {"batch_delay_us": -1},
        {"threads": 0},
    ],
)
def test_a_spec_that_could_break_out_is_refused(change: dict[str, Any]) -> None:
    """A name that would leave the folder or break the configuration, and any number out of range, is refused."""
    with pytest.raises(ArtifactRefused):
        ModelVersion(**{"name": "m", "version": 1, "path": Path(), **change})


@pytest.mark.parametrize(
    "signature",
    [
        "text",
        [],
        {},
        {"inputs": [], "outputs": SIGNATURE["outputs"]},
        {"inputs": SIGNATURE["inputs"]},
        {"inputs": SIGNATURE["inputs"] * 2, "outputs": SIGNATURE["outputs"]},
        *[{"inputs": [SIGNATURE["inputs"][0] | change], "outputs": SIGNATURE["outputs"]} for change in _WRONG_TENSORS],
    ],
)
def test_a_wrong_signature_is_refused(signature: object) -> None:
    """A signature that lacks something, or says what Triton or torch cannot, is refused in one sentence."""
    with pytest.raises(ArtifactRefused) as refused:
        read_signature(json.dumps(signature))
    assert "\n" not in str(refused.value)
