"""Artifact folders become repositories of one version each, and what could break them is refused."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from serving.errors import StartFailed
from serving.pools import PoolOptions
from serving.triton import backends
from serving.triton.layout import ArtifactRefused, ModelVersion, Repository, config_text, write_repository
from tests.serving.triton.artifacts import onnx_model, signed
from tests.serving.triton.made import SIGNATURE, artifact, parsed, ready_artifact, server_with

BACKENDS = Path(backends.__file__).parent
BYTES = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [4]}], "outputs": SIGNATURE["outputs"]}
PYTORCH_NAMES = {
    "inputs": [{"name": f"INPUT__{place}", "datatype": "FP32", "shape": [4]} for place in (0, 1)],
    "outputs": [{"name": "OUTPUT__0", "datatype": "FP32", "shape": [4]}],
}


def files(made: Repository) -> set[str]:
    """Every file of the repository."""
    return {str(file.relative_to(made.folder)) for file in made.folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("file", "kind", "wrapper"),
    [
        ("model.pt2", "torch-export", "torch_export"),
        ("other.pt2", "", "torch_export"),
        ("model.pt", "", "torchscript"),
        ("a.onnx", "onnx", "onnx_runtime"),
        ("a.skops", "", "sklearn_skops"),
    ],
)
def test_an_artifact_is_laid_out_with_its_wrapper(tmp_path: Path, file: str, kind: str, wrapper: str) -> None:
    """A repository holds the model's one version: its file under a fixed name, wrapper, configuration and labels."""
    spec = ModelVersion("m", 7, artifact(tmp_path / "artifact", file), kind=kind)
    made = write_repository(spec, tmp_path / "repository")
    assert made.complete
    assert made.example is None
    model = f"m/7/model.{file.rpartition('.')[2]}"
    assert files(made) == {"m/config.pbtxt", model, "m/7/model.py", "m/7/rows.py", "m/y.labels.txt"}
    assert f"`{file.replace('other', 'model').replace('a.', 'model.')}`" in (made.folder / "m/7/model.py").read_text()
    assert parsed((made.folder / "m/config.pbtxt").read_text()).backend == "python"
    assert (made.folder / "m/config.pbtxt").read_text() == config_text(spec)


@pytest.mark.parametrize("file", sorted(BACKENDS.glob("*.py")), ids=lambda file: file.stem)
def test_what_runs_inside_triton_imports_nothing_of_this_project(file: Path) -> None:
    """It runs from a copy, in a process where this project need not be, beside nothing but rows.py."""
    imports = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    relative = [node.module for node in imports if isinstance(node, ast.ImportFrom) and node.level]
    assert set(relative) <= {"rows"}
    names = {
        name.partition(".")[0]
        for node in imports
        for name in ([one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert not names & {"serving", "registry", "router", "drift", "loadtests", "tests"}


def test_what_lies_beside_an_onnx_model_comes_with_it(tmp_path: Path) -> None:
    """Its weights may, but nothing takes the place of a wrapper's file."""
    folder = artifact(tmp_path / "artifact", "a.onnx")
    for name in ("deep/weights.bin", "a.data", "rows.py", "model.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("theirs")
    made = write_repository(ModelVersion("m", 7, folder), tmp_path / "repository")
    assert {"m/7/deep/weights.bin", "m/7/a.data"} <= files(made)
    for name in ("rows.py", "model.py"):
        assert "theirs" not in (made.folder / "m" / "7" / name).read_text()
        assert (folder / name).read_text() == "theirs"


def test_a_signature_that_is_given_comes_before_the_folders(tmp_path: Path) -> None:
    """The registered one counts; labels, which it has not, come from the folder."""
    folder = artifact(tmp_path / "artifact")
    given = {"inputs": SIGNATURE["inputs"], "outputs": [{"name": "y", "datatype": "FP64", "shape": [3]}]}
    made = write_repository(ModelVersion("m", 7, folder, signature=json.dumps(given)), tmp_path / "repository")
    [output] = parsed((made.folder / "m/config.pbtxt").read_text()).output
    assert (list(output.dims), output.label_filename) == ([3], "y.labels.txt")
    assert (made.folder / "m/y.labels.txt").read_text() == "no\n"


def test_a_server_with_the_native_backend_runs_it_itself(tmp_path: Path) -> None:
    """No wrapper then; threads are said in that backend's words."""
    folder = artifact(tmp_path / "artifact", "net.pt", PYTORCH_NAMES)
    spec = ModelVersion("m", 7, folder, PoolOptions(threads=3))
    made = write_repository(spec, tmp_path / "repository", server_with(tmp_path / "server", "pytorch"))
    assert files(made) == {"m/config.pbtxt", "m/7/model.pt"}
    config = parsed((made.folder / "m/config.pbtxt").read_text())
    assert (config.backend, config.default_model_filename) == ("pytorch", "model.pt")
    assert config.parameters["INTRA_OP_THREAD_COUNT"].string_value == "3"


@pytest.mark.parametrize(
    "names",
    [
        {"inputs": [("x", "FP32", [4])], "outputs": [("OUTPUT__0", "FP32", [4])]},
        {"inputs": [("x__1", "FP32", [4])], "outputs": [("OUTPUT__0", "FP32", [4])]},
        {"inputs": [("x__0", "FP32", [4])], "outputs": [("OUTPUT__0", "UINT16", [4])]},
    ],
)
def test_names_that_the_pytorch_backend_cannot_place_keep_the_wrapper(tmp_path: Path, names: dict[str, Any]) -> None:
    """It finds tensors by the number at the end of their names, and knows fewer datatypes than torch."""
    folder = signed(tmp_path / "artifact", **names)
    (folder / "net.pt").write_bytes(b"")
    server = server_with(tmp_path / "server", "pytorch", "onnxruntime")
    assert parsed(config_text(ModelVersion("m", 7, folder), server)).backend == "python"


def test_the_native_onnx_backend_is_told_of_rows_of_one_value(tmp_path: Path) -> None:
    """It compares the configuration with the model, where such a tensor has no dimension but the batch's."""
    folder = signed(
        onnx_model(tmp_path / "artifact"),
        [("x", "FP32", [3]), ("pick", "INT64", [1])],
        [("y", "FP32", [2]), ("place", "INT64", [1])],
    )
    server = server_with(tmp_path / "server", "onnxruntime")
    spec = ModelVersion("m", 7, folder, PoolOptions(threads=3))
    config = parsed(config_text(spec, server))
    assert (config.backend, config.default_model_filename) == ("onnxruntime", "model.onnx")
    assert config.parameters["intra_op_thread_count"].string_value == "3"
    assert {one.name: one.HasField("reshape") for one in (*config.input, *config.output)} == {
        "x": False,
        "pick": True,
        "y": False,
        "place": True,
    }
    assert all(list(one.reshape.shape) == [] for one in config.input)
    unbatched = ModelVersion("m", 7, folder, PoolOptions(max_batch_size=0))
    assert [list(one.reshape.shape) for one in parsed(config_text(unbatched, server)).output] == [[], [-1]]


def test_a_pickle_is_laid_out_only_where_it_is_allowed(tmp_path: Path) -> None:
    """Whoever allows it gets it loaded; nobody else gets it as far as a repository."""
    folder = artifact(tmp_path / "artifact", "model.joblib")
    for kind in ("", "sklearn"):
        with pytest.raises(ArtifactRefused, match=r"model\.joblib is a pickle"):
            write_repository(ModelVersion("m", 7, folder, kind=kind), tmp_path / "repository")
        made = write_repository(ModelVersion("m", 7, folder, kind=kind, allow_pickle=True), tmp_path / "repository")
        assert "m/7/model.joblib" in files(made)


def test_a_repository_says_what_its_server_needs(tmp_path: Path) -> None:
    """A cache and the limiter's resources, also where a Triton directory asks for them itself."""
    group = 'instance_group { rate_limiter { resources { name: "%s" count: %d } } }'
    ready = ready_artifact(
        tmp_path / "ready",
        f'backend: "python" response_cache {{ enable: true }} {group % ("R", 2)} {group % ("R", 5)}',
        1,
    )
    made = write_repository(ModelVersion("m", 1, ready), tmp_path / "repository")
    assert (made.response_cache, made.rate_limits, made.capacity) == (True, {"R": 5}, 2)
    plain = write_repository(ModelVersion("m", 1, artifact(tmp_path / "artifact")), tmp_path / "repository")
    assert (plain.response_cache, plain.rate_limits, plain.capacity) == (False, {}, 64)


def test_a_cache_that_the_server_has_not_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """Triton itself would serve without one, and say so to nobody."""
    spec = ModelVersion("m", 1, artifact(tmp_path / "artifact"), PoolOptions(response_cache=True))
    with pytest.raises(StartFailed, match="libtritoncache_local"):
        write_repository(spec, tmp_path / "repository", server_with(tmp_path / "without"))
    assert not (tmp_path / "repository").exists()
    assert write_repository(spec, tmp_path / "repository", server_with(tmp_path / "with", cache=True)).response_cache


def test_a_repository_is_made_anew(tmp_path: Path) -> None:
    """What an earlier replica left in the folder is gone."""
    stale = tmp_path / "repository" / "other" / "1" / "model.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    write_repository(ModelVersion("m", 7, artifact(tmp_path / "artifact")), tmp_path / "repository")
    assert not stale.exists()


def test_a_ready_directory_gets_name_and_version(tmp_path: Path) -> None:
    """A ready directory keeps its configuration but for name and version policy; other versions stay behind."""
    config = (
        'name: "other" # comment\nbackend: "python"\nversion_policy { latest { num_versions: 3 } }\nmax_batch_size: 3'
    )
    ready = ready_artifact(tmp_path / "artifact", config, 1, 2)
    (ready / "labels.txt").write_text("a")
    (ready / "example.json").write_text("{}")
    made = write_repository(ModelVersion("m", 2, ready), tmp_path / "repository")
    assert not made.complete
    assert made.example == ready / "example.json"
    files = {str(file.relative_to(made.folder)) for file in made.folder.rglob("*") if file.is_file()}
    assert files == {"m/config.pbtxt", "m/2/model.py", "m/labels.txt"}
    found = parsed((made.folder / "m/config.pbtxt").read_text())
    assert (found.name, found.max_batch_size) == ("m", 3)
    assert list(found.version_policy.specific.versions) == [2]


def test_the_only_version_of_a_ready_directory_may_have_another_number(tmp_path: Path) -> None:
    """A directory with one version folder serves as whatever version is asked for."""
    ready = ready_artifact(tmp_path / "artifact", 'backend: "python"', 1)
    made = write_repository(ModelVersion("m", 9, ready), tmp_path / "repository")
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
    ready = ready_artifact(tmp_path / "artifact", config, *versions)
    with pytest.raises(ArtifactRefused, match=said):
        write_repository(ModelVersion("m", 9, ready), tmp_path / "repository")


@pytest.mark.parametrize(
    ("file", "signature", "change", "said"),
    [
        ("readme.md", SIGNATURE, {}, "no model file"),
        ("model.pkl", SIGNATURE, {}, "pickle"),
        ("model.pth", SIGNATURE, {"allow_pickle": True}, "pickle"),
        ("model.pt", SIGNATURE, {"kind": "onnx"}, "declared as onnx, and its files are of the kind torchscript"),
        ("model.pt2", SIGNATURE, {"kind": "triton"}, "cannot be read"),
        ("model.pt2", BYTES, {}, "'BYTES'.*torch-export takes"),
        ("model.pt", BYTES, {}, "'BYTES'.*torchscript takes"),
        ("model.onnx", SIGNATURE, {"signature": json.dumps(BYTES).replace("BYTES", "BF16")}, "'BF16'"),
        (
            "model.pt2",
            SIGNATURE,
            {"signature": json.dumps(SIGNATURE).replace("[4]", '[4], "optional": true')},
            "optional",
        ),
        ("model.skops", SIGNATURE, {"options": PoolOptions(device="gpu")}, "on the CPU only"),
        ("model.pt2", SIGNATURE, {"options": PoolOptions(rate_limiter={"R:1": 1})}, "must match"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_sentence(
    tmp_path: Path, file: str, signature: object, change: dict[str, Any], said: str
) -> None:
    """No model, another model, or one whose tensors or device its runtime has not."""
    folder = artifact(tmp_path / "artifact", file, signature)
    with pytest.raises(ArtifactRefused, match=said) as refused:
        write_repository(ModelVersion("m", 1, folder, **change), tmp_path / "repository")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "repository").exists()


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    """A missing folder, an empty one, one with two models, and a model without a signature."""
    empty = tmp_path / "empty"
    empty.mkdir()
    two = artifact(tmp_path / "two")
    (two / "model.onnx").write_bytes(b"")
    unsigned = artifact(tmp_path / "unsigned")
    (unsigned / "signature.json").unlink()
    for folder, said in (
        (tmp_path / "no", "missing"),
        (Path(), "missing"),
        (empty, "holds no model"),
        (two, "several model files"),
        (unsigned, r"no signature\.json"),
    ):
        with pytest.raises(ArtifactRefused, match=said) as refused:
            write_repository(ModelVersion("m", 1, folder), tmp_path / "repository")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        *[{"name": bad} for bad in ("", "..", "../up", "a/b", 'a"b', "a\nb", "a b", "-a", "x" * 200)],
        *[{"version": bad} for bad in (0, -1, True, "1", 2**63)],
        {"kind": "pickle"},
    ],
)
def test_a_spec_that_could_break_out_is_refused(change: dict[str, Any]) -> None:
    """A name that would leave the folder or break the configuration, a number out of range, an unknown kind."""
    with pytest.raises(ArtifactRefused):
        ModelVersion(**{"name": "m", "version": 1, "path": Path(), **change})
