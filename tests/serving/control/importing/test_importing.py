"""An import from a real MLflow server: brought, tried on a real Triton, recorded in a real Valkey, aliases put."""

from __future__ import annotations

import importlib.util
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from registry.artifacts import ArtifactStore
from registry.errors import Conflict, NotFound, Unacceptable
from registry.kinds import ArtifactKind
from registry.lifecycle import State
from registry.models import ModelName, TrainingData, VersionNumber
from registry.roots import Roots
from registry.service import Registry
from registry.store import connect
from serving.control.errors import Unknown
from serving.control.importing.performing import Importer
from serving.control.operations import Operation
from serving.control.registering import Registrar
from serving.control.service import Current
from serving.control.valkey import EmbeddedValkey
from serving.errors import StartFailed
from serving.pools import PoolSpec, Tried
from serving.settings import ModelSettings, RegistrySettings, Settings
from serving.triton.arguments import PoolArguments
from serving.triton.inspecting import signature_in
from serving.triton.trial import tried
from tests.serving.control.importing.logged_facts import COMMIT

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("pytriton") is None, reason="nvidia-pytriton is not installed on this platform"
)


@dataclass
class Trials:
    """Tries versions out: on a real server where `real`, else they pass, or fail with `refusal`."""

    folder: Path
    real: bool = False
    refusal: str = ""
    results: list[Tried] = field(default_factory=list)

    async def try_out(self, spec: PoolSpec, tell: Callable[[str], None]) -> Tried:
        """In this process."""
        if self.refusal:
            raise StartFailed(self.refusal)
        if not self.real:
            return Tried((), (), "", 1.0, 1.0)
        arguments = PoolArguments(
            model=spec.model,
            version=spec.version,
            state_dir=str(self.folder / "state"),
            redis_url="",
            artifact=spec.artifact,
            artifacts=str(self.folder / "artifacts"),
            kind=spec.kind,
            signature=spec.signature,
            example=spec.example,
            first_port=25_000,
            last_port=25_999,
        )
        self.results.append(await tried(arguments, tell))
        return self.results[-1]


class NoPolicies:
    """No model has a policy."""

    async def current(self, model: str) -> Current:
        """Says so."""
        raise Unknown(f"There is no model {model}.")


@dataclass
class Room:
    """All that an import needs."""

    registry: Registry
    artifacts: ArtifactStore
    trials: Trials
    importer: Importer
    folder: Path
    told: list[str] = field(default_factory=list)

    async def tell(self, words: str, /, **_known: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Hears what is done."""
        self.told.append(words)

    async def run(self, source: str, model: str = "iris", **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """The result of an import."""
        operation = Operation("op1", "import", model, arguments={"source": source, **arguments}, who="ada")
        await self.importer.check(operation)
        return dict(await self.importer.perform(operation, self.tell))

    @property
    def left_behind(self) -> list[Path]:
        """What lies in the folder of imports."""
        scratch = self.folder / "state" / "imports"
        return list(scratch.iterdir()) if scratch.exists() else []

    @property
    def kept(self) -> list[str]:
        """The artifacts that are kept."""
        folder = self.folder / "artifacts"
        return [path.name for path in folder.iterdir() if not path.name.startswith(".")] if folder.exists() else []


async def nobody(_model: ModelName, _version: VersionNumber, /) -> Sequence[str]:
    """Nobody uses anything."""
    return ()


@pytest.fixture
async def room(valkey: EmbeddedValkey, mlflow_uri: str, tmp_path: Path) -> AsyncIterator[Room]:
    """One with nothing in it."""
    store = connect(valkey.url, f"test-{secrets.token_hex(6)}")
    yield room_of(Registry(store, nobody), tmp_path, mlflow_uri)
    await store.close()


def room_of(
    registry: Registry,
    folder: Path,
    uri: str | None,
    *,
    allow_pickle: bool = False,
    models: tuple[ModelSettings, ...] = (),
) -> Room:
    """One with that registry and tracking server; `models` are those of the settings."""
    artifacts = ArtifactStore(str(folder / "artifacts"), Roots(()), allow_pickle=allow_pickle)
    trials = Trials(folder)
    registrar = Registrar(registry, artifacts, trials, NoPolicies())
    settings = Settings(
        state_dir=folder / "state",
        models=models,
        registry=RegistrySettings(
            artifacts=str(folder / "artifacts"), sources=(), allow_pickle=allow_pickle, mlflow_uri=uri
        ),
    )
    return Room(registry, artifacts, trials, Importer(registry, registrar.record, settings, signature_in), folder)


@needs_triton
async def test_a_scikit_learn_model_is_imported_and_answers(room: Room) -> None:
    """With its signature, parameters, metrics, tags, data, commit and aliases; tried on a real server first."""
    room.trials.real = True
    result = await room.run("mlflow:/iris@champion")
    assert (result["model"], result["version"], result["created"], result["kind"]) == ("iris", 1, True, "sklearn")
    assert sorted(result["aliases"]["put"]) == ["best-of-all", "champion"]
    assert len(result["left_out"]) == 2
    shown = await room.registry.show("iris", "champion")
    contents = shown.version.contents
    assert (int(shown.version.number), shown.standing.state) == (1, State.VERIFIED)
    assert str(contents.signature.inputs[0]) == "input FP64 [4]"
    assert str(contents.signature.outputs[0]) == "predict INT64 [1]"
    assert contents.parameters == {"C": "1.0", "solver": "lbfgs"}
    assert contents.metrics == {"accuracy": 0.97}
    assert contents.code_revision == COMMIT
    assert isinstance(contents.data, TrainingData)
    assert contents.data.rows == 150
    assert (contents.tags["team"], contents.tags["reviewed"], contents.tags["mlflow.version"]) == ("fruit", "yes", "1")
    assert json.loads(contents.example or "")["inputs"][0]["shape"] == [2, 4]
    [found] = room.trials.results
    assert (found.inputs, found.outputs) == (contents.signature.inputs, contents.signature.outputs)
    assert room.left_behind == []
    assert room.kept == [contents.artifact.digest]


@needs_triton
async def test_an_onnx_model_is_imported_with_its_weights(room: Room) -> None:
    """Which lie in a file of their own; the model itself says what its tensors are called."""
    room.trials.real = True
    result = await room.run("mlflow:/halves/1", model="halves")
    contents = (await room.registry.show("halves", 1)).version.contents
    assert result["kind"] == contents.artifact.kind == ArtifactKind.ONNX
    assert str(contents.signature.inputs[0]) == "x FP32 [64]"
    files = list(room.artifacts.load(contents.artifact.digest, room.folder / "loaded").iterdir())
    assert len(files) == 2


@needs_triton
@pytest.mark.slow
async def test_a_model_on_columns_takes_one_matrix(room: Room) -> None:
    """And says which column is which."""
    room.trials.real = True
    await room.run("mlflow:/iris/2", number=7)
    contents = (await room.registry.show("iris", 7)).version.contents
    assert str(contents.signature.inputs[0]) == "input FP64 [4]"
    assert json.loads(contents.tags["mlflow.columns"])[0] == "sepal length"


@pytest.mark.slow
async def test_importing_again_finds_what_is_there(room: Room) -> None:
    """Nothing is tried twice, nothing is lost."""
    first = await room.run("mlflow:/iris/1")
    room.trials.refusal = "It was tried again."
    again = await room.run("mlflow:/iris/1")
    assert (first["created"], again["created"], again["version"]) == (True, False, 1)
    assert sorted(again["aliases"]["put"]) == ["best-of-all", "champion"]
    assert room.kept == [first["digest"]]


@pytest.mark.slow
async def test_a_number_that_is_something_else_is_a_conflict(room: Room) -> None:
    """Another number can be given; aliases that were moved here are left, or forced."""
    await room.run("mlflow:/iris/2", number=1)
    with pytest.raises(Conflict, match="iris version 1"):
        await room.run("mlflow:/iris/1")
    assert len(room.kept) == 1
    await room.registry.point("iris", "champion", 1, expected=0, who="bob")
    result = await room.run("mlflow:/iris/1", number=5)
    assert result["aliases"] == {"put": ["best-of-all"], "left": {"champion": "it points at version 1 here"}}
    forced = await room.run("mlflow:/iris/1", number=5, force=True)
    assert sorted(forced["aliases"]["put"]) == ["best-of-all", "champion"]
    assert await room.registry.resolve("iris", "champion") == 5


@pytest.mark.slow
async def test_a_trial_that_fails_leaves_nothing(room: Room) -> None:
    """No version, no alias, no file."""
    room.trials.refusal = "It did not start: out of memory."
    with pytest.raises(StartFailed, match="out of memory"):
        await room.run("mlflow:/iris/1")
    with pytest.raises(NotFound):
        await room.registry.show("iris", 1)
    assert (room.kept, room.left_behind) == ([], [])


async def test_a_pickle_comes_only_where_pickles_are_allowed(room: Room, mlflow_uri: str) -> None:
    """The sentence says what to do instead."""
    with pytest.raises(Unacceptable, match="saved as cloudpickle"):
        await room.run("mlflow:/iris/3")
    trusting = room_of(room.registry, room.folder, mlflow_uri, allow_pickle=True)
    assert (await trusting.run("mlflow:/iris/3"))["kind"] == "sklearn"


async def test_a_model_without_a_signature_is_refused(room: Room) -> None:
    """And nothing is left of it."""
    with pytest.raises(Unacceptable, match="without a signature"):
        await room.run("mlflow:/iris/4")
    assert (room.kept, room.left_behind) == ([], [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"source": "iris/1"}, "nothing that can be imported"),
        ({}, "nothing that can be imported"),
        ({"source": "mlflow:/iris/1", "number": 0}, "is no version"),
        ({"source": "mlflow:/iris/1", "force": "yes"}, "must be true or false"),
        ({"source": "mlflow:/iris/1", "tracking_uri": "http://169.254.169.254"}, "no tracking_uri"),
    ],
)
async def test_a_request_that_is_wrong_is_refused_before_it_begins(
    tmp_path: Path, arguments: dict[str, Any], words: str
) -> None:
    """In a sentence; and no request says which server is asked."""
    importer = room_of(None, tmp_path, "http://127.0.0.1:9").importer  # type: ignore[arg-type] # nothing is asked of it
    with pytest.raises(Unacceptable, match=words):
        await importer.check(Operation("op1", "import", "iris", arguments=arguments))


@pytest.mark.parametrize(
    ("source", "arguments"),
    [("mlflow:/iris/3", {}), ("mlflow:/iris/2", {"number": 3}), ("mlflow:/iris@a", {"number": 3})],
)
async def test_a_number_of_the_settings_is_refused_before_anybody_is_asked(
    tmp_path: Path, source: str, arguments: dict[str, Any]
) -> None:
    """The hint says how to give it another one, and that one is not refused."""
    declared = ModelSettings.model_validate({"name": "iris", "versions": [{"version": 3, "path": str(tmp_path)}]})
    room = room_of(None, tmp_path, "http://127.0.0.1:9", models=(declared,))  # type: ignore[arg-type] # nor is it
    operation = Operation("op1", "import", "iris", arguments={"source": source, **arguments})
    with pytest.raises(Conflict, match="iris version 3 is in the settings") as caught:
        await room.importer.check(operation)
    assert "above 3, with --number" in caught.value.hint
    await room.importer.check(replace(operation, arguments={"source": source, "number": 4}))


async def test_a_number_of_the_settings_is_refused_before_the_download(
    room: Room, mlflow_uri: str, tmp_path: Path
) -> None:
    """Where only the server knows which number an alias stands for; under another number it comes."""
    declared = ModelSettings.model_validate({"name": "iris", "versions": [{"version": 1, "path": str(tmp_path)}]})
    strict = room_of(room.registry, room.folder, mlflow_uri, models=(declared,))
    with pytest.raises(Conflict, match="iris version 1 is in the settings"):
        await strict.run("mlflow:/iris@champion")
    assert not [line for line in strict.told if "is here" in line]
    assert (strict.kept, strict.left_behind) == ([], [])
    assert (await strict.run("mlflow:/iris@champion", number=2))["version"] == 2


async def test_without_a_tracking_server_the_setting_is_named(tmp_path: Path) -> None:
    """Where it is to be written."""
    importer = room_of(None, tmp_path, None).importer  # type: ignore[arg-type] # nothing is asked of it
    with pytest.raises(Unacceptable, match="name no MLflow tracking server") as caught:
        await importer.check(Operation("op1", "import", "iris", arguments={"source": "mlflow:/iris/1"}))
    assert "registry.mlflow_uri" in caught.value.hint
