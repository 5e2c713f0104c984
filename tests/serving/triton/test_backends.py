"""Every kind of artifact answers from a real Triton as its own framework does, alone and in batches."""

import asyncio
import importlib.util
import io
import pickle
import sys
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from serving.errors import StartFailed
from serving.pools import PoolOptions
from serving.triton import binary
from serving.triton.layout import ModelVersion, write_repository
from serving.triton.process import ServerOptions, TritonProcess
from tests.serving.triton import artifacts

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pytriton") is None, reason="nvidia-pytriton is not installed on this platform"
)

Array = NDArray[Any]
X = np.random.default_rng(7).normal(size=(40, 3)).astype(np.float32)
COLOURS = np.array(["blue", "green", "red"])[np.random.default_rng(7).integers(0, 3, 40)]
SPECIES = np.where(X[:, 0] + (COLOURS == "red") > 0.5, "perch", "pike")

DOUBLES = """
import triton_python_backend_utils as triton

class TritonPythonModel:
    def execute(self, requests):
        arrays = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [triton.InferenceResponse([triton.Tensor("y", 2 * array)]) for array in arrays]
"""


@asynccontextmanager
async def served(spec: ModelVersion, folder: Path) -> AsyncIterator[TritonProcess]:
    """A real server of that version."""
    found = binary.find()
    repository = write_repository(spec, folder / "repository", found)
    options = ServerOptions(log_file=folder / "triton.log", first_port=24_000, last_port=24_999)
    server = await TritonProcess.start(found, repository, spec.name, spec.version, options)
    try:
        yield server
    finally:
        await server.stop(0.0)


def version_of(artifact: Path, **options: object) -> ModelVersion:
    """Version 3 of a model, run so."""
    return ModelVersion("m", 3, artifact, PoolOptions.model_validate(options))


async def ask(server: TritonProcess, **tensors: Array) -> Mapping[str, Array]:
    """One inference; every output by name."""
    inputs = []
    for name, values in tensors.items():
        tensor = aio.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
        inputs.append(tensor.set_data_from_numpy(values))
    result = await server.infer(inputs)
    return {output["name"]: result.as_numpy(output["name"]) for output in result.get_response()["outputs"]}


async def counts(server: TritonProcess) -> tuple[int, int]:
    """How many rows it has answered, and in how many passes."""
    [stats] = (await server.statistics())["model_stats"]
    return stats["inference_count"], stats["execution_count"]


def words(*said: str) -> Array:
    """BYTES, one a row."""
    return np.array([[word.encode()] for word in said], np.object_)


@pytest.mark.parametrize("kind", ["torch-export", "torchscript", "torchscript by name"])
async def test_a_torch_model_answers_as_torch_does(tmp_path: Path, kind: str) -> None:
    """Outputs by position or by name; a row that is one value is a column to Triton."""
    if kind == "torch-export":
        artifact = artifacts.torch_export(tmp_path / "a")
    else:
        module = artifacts.Halves() if kind == "torchscript" else artifacts.Named()
        artifact = artifacts.torchscript(tmp_path / "a", module, *artifacts.HALVES)
    rows = np.abs(X)
    async with served(version_of(artifact), tmp_path) as server:
        found = await ask(server, x=rows[:5])
    np.testing.assert_array_equal(found["half"], rows[:5] / 2)
    np.testing.assert_allclose(found["sum"], rows[:5].sum(axis=1, keepdims=True), rtol=1e-6)


async def test_many_requests_are_one_pass_and_one_bad_one_spoils_no_other(tmp_path: Path) -> None:
    """Requests that wait together are merged; one that the module refuses gets its error alone."""
    artifact = artifacts.torchscript(tmp_path / "a", artifacts.Halves(), *artifacts.HALVES)
    rows = np.abs(X[:16]).reshape(16, 1, 3)
    bad = -rows[0]
    spec = version_of(artifact, batch_delay_us=200_000, preferred_batch_sizes=[17], max_batch_size=17)
    async with served(spec, tmp_path) as server:
        answers = await asyncio.gather(*(ask(server, x=one) for one in rows))
        for one, answer in zip(rows, answers, strict=True):
            np.testing.assert_array_equal(answer["half"], one / 2)
        answered, passes = await counts(server)
        assert answered == 16
        assert passes < 16
        mixed = await asyncio.gather(*(ask(server, x=one) for one in (*rows, bad)), return_exceptions=True)
    *good, failed = mixed
    for one, good_one in zip(rows, good, strict=True):
        assert isinstance(good_one, dict)
        np.testing.assert_array_equal(good_one["half"], one / 2)
    assert isinstance(failed, InferenceServerException)
    assert "\n" not in failed.message()


@pytest.mark.parametrize("external", [False, True])
async def test_an_onnx_model_answers_as_onnx_says(tmp_path: Path, external: bool) -> None:  # noqa: FBT001 - a case
    """Numbers and texts, columns of single values both ways, and weights in a file beside the model."""
    artifact = artifacts.onnx_model(tmp_path / "a", external=external)
    artifacts.signed(
        artifact,
        [("x", "FP32", [3]), ("pick", "INT64", [1])],
        [("word", "BYTES", [1]), ("y", "FP32", [2]), ("place", "INT64", [1])],
    )
    picks = np.array([[1], [0], [2]])
    async with served(version_of(artifact, threads=2), tmp_path) as server:
        found = await ask(server, x=X[:3], pick=picks)
        with pytest.raises(InferenceServerException, match="out of"):
            await ask(server, x=X[:1], pick=np.array([[3]]))
    expected = X[:3] @ artifacts.WEIGHTS
    np.testing.assert_allclose(found["y"], expected, rtol=1e-5)
    assert found["place"].tolist() == expected.argmax(axis=1, keepdims=True).tolist()
    assert found["word"].tolist() == [["zwölf".encode()], [b"one"], [b"three"]]


async def test_texts_go_through_onnx_whole(tmp_path: Path) -> None:
    """BYTES are UTF-8; a request whose bytes are not is refused, and those beside it are answered."""
    artifact = artifacts.signed(
        artifacts.onnx_text(tmp_path / "a"), [("said", "BYTES", [2])], [("heard", "BYTES", [2])]
    )
    good = np.array([["grün".encode(), b""], ["一二\n".encode(), b"a b"]], np.object_)
    bad = np.array([[b"\xff\xfe", b""]], np.object_)
    async with served(version_of(artifact, batch_delay_us=100_000), tmp_path) as server:
        answers = await asyncio.gather(ask(server, said=good), ask(server, said=bad), return_exceptions=True)
    assert isinstance(answers[0], dict)
    assert answers[0]["heard"].tolist() == good.tolist()
    assert isinstance(answers[1], InferenceServerException)
    assert "UnicodeDecodeError" in answers[1].message()


async def test_a_classifier_answers_as_scikit_learn_does(tmp_path: Path) -> None:
    """Methods by their names, probabilities by their shape, and classes that are texts."""
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, SPECIES)
    outputs = [("label", "BYTES", [1]), ("scores", "FP32", [2]), ("decision_function", "FP64", [1])]
    artifact = artifacts.sklearn(tmp_path / "a", model, [("x", "FP32", [3])], outputs)
    async with served(version_of(artifact, batch_delay_us=100_000), tmp_path) as server:
        found = await ask(server, x=X[:9])
        unlucky = X[:1].copy()
        unlucky[0, 0] = np.nan
        pair = await asyncio.gather(ask(server, x=X[:1]), ask(server, x=unlucky), return_exceptions=True)
    assert [row[0].decode() for row in found["label"]] == model.predict(X[:9]).tolist()
    np.testing.assert_allclose(found["scores"], model.predict_proba(X[:9]), rtol=1e-5)
    np.testing.assert_allclose(found["decision_function"][:, 0], model.decision_function(X[:9]), rtol=1e-5)
    assert isinstance(pair[0], dict)
    assert isinstance(pair[1], InferenceServerException)
    assert "NaN" in pair[1].message()


async def test_columns_of_numbers_and_texts_are_one_table(tmp_path: Path) -> None:
    """Several inputs are columns in the signature's order, for a pipeline that encodes some of them."""
    table = np.concatenate([X.astype(np.object_), COLOURS[:, None].astype(np.object_)], axis=1)
    encoded = ColumnTransformer([("colour", OneHotEncoder(), [3])], remainder="passthrough")
    model = make_pipeline(encoded, LogisticRegression()).fit(table, SPECIES)
    inputs = [("size", "FP32", [3]), ("colour", "BYTES", [1])]
    artifact = artifacts.sklearn(tmp_path / "a", model, inputs, [("predict", "BYTES", [1])])
    async with served(version_of(artifact), tmp_path) as server:
        found = await ask(server, size=X[:9], colour=words(*COLOURS[:9]))
    assert [row[0].decode() for row in found["predict"]] == model.predict(table[:9]).tolist()


async def test_a_vectorizer_of_texts_gets_texts(tmp_path: Path) -> None:
    """A pipeline that begins with one takes a column of BYTES."""
    said = [f"a {colour} fish" for colour in COLOURS]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(said, COLOURS)
    artifact = artifacts.sklearn(tmp_path / "a", model, [("said", "BYTES", [1])], [("colour", "BYTES", [1])])
    async with served(version_of(artifact), tmp_path) as server:
        found = await ask(server, said=words(*said[:6]))
    assert [row[0].decode() for row in found["colour"]] == model.predict(said[:6]).tolist()


async def test_columns_by_name_reach_a_model_that_was_fitted_on_them(tmp_path: Path) -> None:
    """Inputs that are called as the columns of the training table are these columns, in whatever order."""
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"colour": COLOURS, "size": X[:, 0]})
    encoded = ColumnTransformer([("colour", OneHotEncoder(), ["colour"])], remainder="passthrough")
    model = make_pipeline(encoded, LogisticRegression()).fit(table, SPECIES)
    inputs = [("size", "FP32", [1]), ("colour", "BYTES", [1])]
    artifact = artifacts.sklearn(tmp_path / "a", model, inputs, [("predict", "BYTES", [1])])
    async with served(version_of(artifact), tmp_path) as server:
        found = await ask(server, size=X[:9, :1], colour=words(*COLOURS[:9]))
    assert [row[0].decode() for row in found["predict"]] == model.predict(table[:9]).tolist()


async def test_types_that_scikit_learn_defines_are_trusted(tmp_path: Path) -> None:
    """Also those that skops leaves to its caller: a gradient boosting's trees."""
    model = HistGradientBoostingClassifier(max_iter=3).fit(X, SPECIES)
    artifact = artifacts.sklearn(tmp_path / "a", model, [("x", "FP32", [3])], [("predict_proba", "FP32", [2])])
    async with served(version_of(artifact), tmp_path) as server:
        found = await ask(server, x=X[:5])
    np.testing.assert_allclose(found["predict_proba"], model.predict_proba(X[:5]), rtol=1e-5)


@pytest.mark.parametrize("disguise", ["tests.serving.triton.artifacts", "sklearn.utils._testing"])
async def test_a_type_that_is_not_trusted_is_refused_by_its_name(tmp_path: Path, disguise: str) -> None:
    """A function of whoever made the file is not called, also not one that a module of scikit-learn imports."""
    model = make_pipeline(FunctionTransformer(artifacts.signed), LinearRegression())
    artifact = artifacts.sklearn(tmp_path / "a", model, [("x", "FP32", [3])], [("predict", "FP64", [1])])
    name = "signed" if disguise.startswith("tests") else "check_output"
    rewrite(artifact / "classifier.skops", {"tests.serving.triton.artifacts": disguise, '"signed"': f'"{name}"'})
    with pytest.raises(StartFailed, match=rf"not trusted: .*{disguise}\.{name}"):
        async with served(version_of(artifact), tmp_path):
            pass


def rewrite(file: Path, texts: Mapping[str, str]) -> None:
    """Changes texts in a skops file's schema."""
    with zipfile.ZipFile(file) as old:
        members = {name: old.read(name) for name in old.namelist()}
    schema = members["schema.json"].decode()
    for text, other in texts.items():
        assert text in schema
        schema = schema.replace(text, other)
    with zipfile.ZipFile(file, "w") as new:
        for name, content in (members | {"schema.json": schema.encode()}).items():
            new.writestr(name, content)


async def test_a_pickle_is_served_where_it_is_allowed(tmp_path: Path) -> None:
    """And only there: elsewhere it is not laid out at all, see test_layout.py."""
    model = LinearRegression().fit(X, X.sum(axis=1))
    artifact = artifacts.signed(tmp_path / "a", [("x", "FP32", [3])], [("y", "FP32", [1])])
    (artifact / "model.pkl").write_bytes(pickle.dumps(model))
    async with served(ModelVersion("m", 3, artifact, allow_pickle=True), tmp_path) as server:
        found = await ask(server, x=X[:4])
    np.testing.assert_allclose(found["y"][:, 0], model.predict(X[:4]), rtol=1e-5)


async def test_a_model_that_is_not_what_its_signature_says_is_refused(tmp_path: Path) -> None:
    """A signature that names an output which the model has not ends the start, with both names."""
    artifact = artifacts.signed(artifacts.onnx_text(tmp_path / "a"), [("said", "BYTES", [2])], [("x", "BYTES", [2])])
    with pytest.raises(StartFailed, match="output x is none of the model's, which are heard"):
        async with served(version_of(artifact), tmp_path):
            pass


@pytest.mark.parametrize(
    ("module", "outputs", "said"),
    [
        (artifacts.Halves(), [("half", "INT64", [3]), ("sum", "FP32", [1])], "gives half as float32.*as int64"),
        (artifacts.Halves(), [("half", "FP32", [3])], "gives 2 outputs, its signature 1"),
        (artifacts.Named(), [("third", "FP32", [3])], "gives sum, other, half, and not third"),
        (artifacts.Total(), [("total", "FP32", [1])], "does not give 2 rows for 2 rows"),
        (artifacts.Halves(), [("half", "FP32", [4]), ("sum", "FP32", [1])], r"rows of half as \[3\], and.* as \[4\]"),
    ],
)
async def test_an_answer_that_is_not_what_the_signature_says_is_an_error(
    tmp_path: Path, module: torch.nn.Module, outputs: artifacts.Tensors, said: str
) -> None:
    """A wrong datatype, shape, number, name or count of rows is told in one line, and the model goes on."""
    artifact = artifacts.torchscript(tmp_path / "a", module, artifacts.HALVES[0], outputs)
    async with served(version_of(artifact), tmp_path) as server:
        for _ in range(2):
            with pytest.raises(InferenceServerException, match=said):
                await ask(server, x=np.abs(X[:2]))


async def test_a_triton_directory_is_served_as_it_says_and_as_was_set(tmp_path: Path) -> None:
    """Its own cache is on, its queue is as the operator set it, and all else is the directory's."""
    artifact = tmp_path / "a"
    (artifact / "1").mkdir(parents=True)
    (artifact / "1" / "model.py").write_text(DOUBLES)
    (artifact / "config.pbtxt").write_text(
        """
        name: "elsewhere" backend: "python" max_batch_size: 4 dynamic_batching { preferred_batch_size: 2 }
        input { name: "x" data_type: TYPE_FP32 dims: 3 } output { name: "y" data_type: TYPE_FP32 dims: 3 }
        response_cache { enable: true }
        """
    )
    async with served(version_of(artifact, max_queue_size=9), tmp_path) as server:
        async with aio.InferenceServerClient(f"127.0.0.1:{server.http_port}") as client:
            config = await client.get_model_config("m", "3")
        answers = [await ask(server, x=X[:2]) for _ in range(3)]
        [stats] = (await server.statistics())["model_stats"]
    assert all((answer["y"] == 2 * X[:2]).all() for answer in answers)
    assert stats["inference_stats"]["cache_hit"]["count"] == 2
    assert config["max_batch_size"] == 4
    assert config["dynamic_batching"]["preferred_batch_size"] == [2]
    assert config["dynamic_batching"]["default_queue_policy"]["max_queue_size"] == 9


@pytest.mark.parametrize(
    ("gives", "datatype", "held"),
    [
        (np.array([0, 255]), "uint8", True),
        (np.array([-1, 1]), "uint8", False),
        (np.array([128], np.uint64), "int8", False),
        (np.array([2**63], np.uint64), "int64", False),
        (np.array([0.1, np.inf, np.nan]), "float16", True),
        (np.array([70_000.0]), "float16", False),
        (np.array([70_000]), "float16", False),
        (np.array([16_777_217]), "float32", True),
        (np.zeros(0), "float16", True),
    ],
)
def test_a_value_that_its_datatype_cannot_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, gives: Array, datatype: str, *, held: bool
) -> None:
    """Neither wrapped around nor made infinite; what is only rounded is held."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
    cast = importlib.import_module("serving.triton.backends.rows")._cast
    if held:
        np.testing.assert_array_equal(cast(gives, "y", np.dtype(datatype)), gives.astype(datatype))
    else:
        with pytest.raises(ValueError, match=f"gives y a value that {datatype} cannot hold"):
            cast(gives, "y", np.dtype(datatype))


async def test_a_program_that_hides_a_pickle_is_refused(tmp_path: Path) -> None:
    """What stands for a program's sample inputs is not unpickled, so that its code is not run."""
    artifact = artifacts.torch_export(tmp_path / "a")
    pickled = io.BytesIO()
    torch.save((Opens(tmp_path / "opened"),), pickled)
    file = artifact / "halves.pt2"
    with zipfile.ZipFile(file) as old:
        members = {name: old.read(name) for name in old.namelist()}
    [sample] = [name for name in members if "/sample_inputs/" in name]
    with zipfile.ZipFile(file, "w") as new:
        for name, content in (members | {sample: pickled.getvalue()}).items():
            new.writestr(name, content)
    with pytest.raises(StartFailed, match=r"model\.pt2 holds a pickle of more than tensors, which may run code"):
        async with served(version_of(artifact), tmp_path):
            pass
    assert not (tmp_path / "opened").exists()


class Opens:
    """Whose unpickling makes a file."""

    def __init__(self, file: Path) -> None:
        self._file = str(file)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self._file, "w")


def test_a_gpu_is_used_where_onnxruntime_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU's instance, with a package that can use one; else the CPU, and a line in the log says so."""
    logged: list[str] = []
    stub = ModuleType("triton_python_backend_utils")
    stub.__dict__["Logger"] = SimpleNamespace(log_warn=logged.append)
    monkeypatch.setitem(sys.modules, stub.__name__, stub)
    onnxruntime = importlib.import_module("onnxruntime")
    providers = importlib.import_module("serving.triton.backends.onnx_runtime")._providers
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [cuda, cpu])
    assert providers(3) == [(cuda, {"device_id": "3"}), cpu]
    assert providers(None) == [cpu]
    assert not logged
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [cpu])
    assert providers(3) == [cpu]
    assert len(logged) == 1


async def test_a_repeated_request_is_answered_from_the_cache(tmp_path: Path) -> None:
    """With response_cache, Triton counts hits, and the model is asked once."""
    artifact = artifacts.torchscript(tmp_path / "a", artifacts.Named(), *artifacts.HALVES)
    async with served(version_of(artifact, response_cache=True), tmp_path) as server:
        answers = [await ask(server, x=X[:2]) for _ in range(4)]
        [stats] = (await server.statistics())["model_stats"]
    assert all((answer["half"] == X[:2] / 2).all() for answer in answers)
    assert stats["inference_stats"]["cache_hit"]["count"] == 3
    assert stats["inference_stats"]["cache_miss"]["count"] == 1
    assert stats["execution_count"] == 1


async def test_queue_priorities_and_rate_limits_are_taken_by_the_server(tmp_path: Path) -> None:
    """What the options say is what the running server says of its model, and it answers."""
    artifact = artifacts.torchscript(tmp_path / "a", artifacts.Named(), *artifacts.HALVES)
    spec = version_of(
        artifact,
        max_batch_size=8,
        preferred_batch_sizes=[4, 8],
        batch_delay_us=1_000,
        max_queue_size=5,
        queue_timeout_us=900_000,
        priority_levels=3,
        default_priority_level=2,
        instance_count=2,
        rate_limiter={"memory": 4, "licence": 1},
    )
    async with served(spec, tmp_path) as server:
        async with aio.InferenceServerClient(f"127.0.0.1:{server.http_port}") as client:
            config = await client.get_model_config("m", "3")
        found = await asyncio.gather(*(ask(server, x=one) for one in X[:8].reshape(4, 2, 3)))
    assert len(found) == 4
    batching = config["dynamic_batching"]
    assert batching["preferred_batch_size"] == [4, 8]
    assert (int(batching["priority_levels"]), int(batching["default_priority_level"])) == (3, 2)
    policy = batching["default_queue_policy"]
    assert (policy["max_queue_size"], int(policy["default_timeout_microseconds"])) == (5, 900_000)
    [group] = config["instance_group"]
    assert group["count"] == 2
    resources = group["rate_limiter"]["resources"]
    assert {one["name"]: one["count"] for one in resources} == {"memory": 4, "licence": 1}


async def test_a_full_queue_refuses_what_comes_next(tmp_path: Path) -> None:
    """With room for one, of many requests at once some are answered and the others are refused."""
    artifact = artifacts.torchscript(tmp_path / "a", artifacts.Named(), *artifacts.HALVES)
    spec = version_of(artifact, max_batch_size=64, max_queue_size=1, batch_delay_us=300_000)
    async with served(spec, tmp_path) as server:
        answers = await asyncio.gather(*(ask(server, x=X[:1]) for _ in range(12)), return_exceptions=True)
    refused = [one.message() for one in answers if isinstance(one, InferenceServerException)]
    assert 0 < len(refused) < 12
    assert all("maximum queue size" in one.lower() for one in refused)
