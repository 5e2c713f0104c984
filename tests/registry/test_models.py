"""What is built can be relied on, so what cannot be relied on is not built."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Conflict, Corrupted, InUse, Unacceptable
from registry.kinds import ArtifactKind, kind_of
from registry.models import LARGEST_VERSION, LONGEST_EXAMPLE, AliasName, Artifact, ModelName, Version, VersionNumber
from tests.registry.made import DIGITS, contents, digest, number, version

EXAMPLE = {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}]}


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a b", "-a", ".a", "a" * 129, "a\n", "ä", 1, None])
def test_a_name_that_cannot_be_a_folder_is_no_models(text: Any) -> None:  # noqa: ANN401 - that is the point
    """It is a part of paths and of URLs."""
    with pytest.raises(Unacceptable, match="is no model's name"):
        ModelName(text)


@given(st.integers().map(str))
def test_an_alias_is_never_a_number(text: str) -> None:
    """A version is asked for by number or by alias, in one place."""
    with pytest.raises(Unacceptable, match="is no alias"):
        AliasName(text)


@pytest.mark.parametrize("value", [0, -1, LARGEST_VERSION + 1, True, 1.0, "1", None])
def test_what_is_no_version_is_refused(value: Any) -> None:  # noqa: ANN401 - that is the point
    """Whole numbers from 1 to 2^31 - 1."""
    with pytest.raises(Unacceptable, match="is no version"):
        VersionNumber(value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("parameters", {"a": None}),
        ("parameters", {"a": [1]}),
        ("parameters", {"a": math.nan}),
        ("parameters", {"a": 2**63}),
        ("parameters", {"": 1}),
        ("parameters", {1: 1}),
        ("parameters", [("a", 1)]),
        ("parameters", dict.fromkeys(map(str, range(1_001)), 1)),
        ("metrics", {"accuracy": math.inf}),
        ("metrics", {"accuracy": "high"}),
        ("metrics", {"accuracy": True}),
        ("metrics", {"accuracy": 10**400}),
        ("tags", {"a": 1}),
        ("tags", {"a": "\ud800"}),
        ("tags", {"a": "a" * 1_001}),
        ("parent", 0),
        ("code_revision", None),
        ("baseline_digest", "abc"),
        ("example", "{"),
        ("example", "[]"),
        ("example", "{}"),
        ("example", '{"inputs": [1]}'),
        ("example", '{"inputs": [{"name": "pixels", "datatype": "FP32", "shape": 1}]}'),
        ("example", "[" * 100_000),
        ("example", json.dumps({"inputs": [{**EXAMPLE["inputs"][0], "name": "dots"}]})),
        ("example", " " * (LONGEST_EXAMPLE + 1)),
    ],
)
def test_contents_that_cannot_be_are_not_built(field: str, value: Any) -> None:  # noqa: ANN401 - that is the point
    """Nothing unbounded, nothing that JSON cannot say, no example that the model would refuse."""
    with pytest.raises(Unacceptable):
        replace(contents(), **{field: value})


def test_an_example_that_fits_the_signature_is_kept() -> None:
    """As the text that it is."""
    assert replace(contents(), example=json.dumps(EXAMPLE)).example == json.dumps(EXAMPLE)


@pytest.mark.parametrize(("given_digest", "size"), [("A" * 64, 1), ("a" * 63, 1), (None, 1), (digest(), -1)])
def test_an_artifact_that_cannot_be_is_not_built(given_digest: Any, size: int) -> None:  # noqa: ANN401 - as above
    """A digest is a SHA-256 in small hexadecimal digits."""
    with pytest.raises(Unacceptable):
        Artifact(ArtifactKind.ONNX, given_digest, size)


def test_a_version_is_not_its_own_parent() -> None:
    """And somebody registered it."""
    assert str(version(3)) == "digits version 3"
    with pytest.raises(Unacceptable, match="as its parent"):
        Version(DIGITS, number(3), contents(parent=3), "ada", 0)
    with pytest.raises(Unacceptable, match="name of who"):
        Version(DIGITS, number(3), contents(), "", 0)


def test_contents_do_not_change_with_what_they_were_made_from() -> None:
    """A copy is kept, and it is read-only."""
    given_parameters: dict[str, str | int | float | bool] = {"a": 1}
    made = replace(contents(), parameters=given_parameters)
    given_parameters["a"] = 2
    assert made.parameters == {"a": 1}
    with pytest.raises(TypeError):
        made.parameters["a"] = 2  # type: ignore[index]


@pytest.mark.parametrize(
    ("paths", "kind"),
    [
        (["model.pt2", "signature.json", "example.json"], ArtifactKind.TORCH_EXPORT),
        (["model.pt"], ArtifactKind.TORCHSCRIPT),
        (["any.onnx", "any.onnx.data"], ArtifactKind.ONNX),
        (["model.skops"], ArtifactKind.SKLEARN),
        (["config.pbtxt", "1/model.onnx"], ArtifactKind.TRITON),
        (["config.pbtxt", "12/model.py", "labels.txt"], ArtifactKind.TRITON),
    ],
)
def test_the_kind_is_told_from_the_names(paths: list[str], kind: ArtifactKind) -> None:
    """And a kind that was declared must be the one that is found."""
    assert kind_of(paths) is kind
    assert kind_of(paths, declared=kind) is kind
    with pytest.raises(Unacceptable, match="was declared as"):
        kind_of(paths, declared=next(other for other in ArtifactKind if other is not kind))


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["readme.md"], "no model file at its top"),
        (["below/model.pt2"], "no model file at its top"),
        (["a.pt2", "b.onnx"], "several model files: a.pt2, b.onnx"),
        (["model.pkl"], "model.pkl is a pickle"),
        (["model.joblib", "readme.md"], "model.joblib is a pickle"),
        (["config.pbtxt", "model.onnx"], "no version's folder"),
        (["config.pbtxt", "01/model.onnx"], "no version's folder"),
    ],
)
def test_what_is_no_artifact_is_told_why(paths: list[str], said: str) -> None:
    """A pickle most of all, for loading one runs code."""
    with pytest.raises(Unacceptable, match=said):
        kind_of(paths)


@pytest.mark.parametrize(
    "error",
    [
        Conflict("Taken.", "Use another."),
        InUse("digits version 1", "delete", ["An alias."]),
        Corrupted("x", "a" * 64, "b" * 64),
    ],
)
def test_errors_travel_between_processes(error: Exception) -> None:
    """With their sentence and all that they know."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
