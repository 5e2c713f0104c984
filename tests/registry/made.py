"""Versions to test with, and what hypothesis draws them from."""

from __future__ import annotations

import json
import string

from hypothesis import strategies as st

from registry.kinds import ArtifactKind
from registry.models import (
    LARGEST_VERSION,
    Artifact,
    Contents,
    ModelName,
    TrainingData,
    Version,
    VersionNumber,
)
from registry.signature import DATATYPES, Signature, TensorSpec

DIGITS = ModelName("digits")
SIGNATURE = Signature(
    (TensorSpec("pixels", "FP32", (64,)),), (TensorSpec("scores", "FP32", (10,)), TensorSpec("digit", "INT64", (1,)))
)


def number(value: int) -> VersionNumber:
    """A version's number."""
    return VersionNumber(value)


def digest(seed: int = 0) -> str:
    """One of many SHA-256."""
    return f"{seed:064x}"


def contents(seed: int = 0, *, parent: int | None = None, signature: Signature = SIGNATURE) -> Contents:
    """What some version is made of; another seed, other contents."""
    return Contents(
        Artifact(ArtifactKind.TORCH_EXPORT, digest(seed), 1_000 + seed),
        signature,
        data=TrainingData("f" * 64, 1_497),
        parameters={"epochs": 15, "rate": 0.002, "shuffled": True},
        metrics={"accuracy": 0.5 + seed / 1_000_000},
        parent=None if parent is None else VersionNumber(parent),
        code_revision="0f1e2d3",
    )


def version(value: int = 1, seed: int = 0) -> Version:
    """Some version."""
    return Version(DIGITS, VersionNumber(value), contents(seed), "ada", 1_700_000_000_000)


digests = st.text("0123456789abcdef", min_size=64, max_size=64)
tensor_names = st.text(string.ascii_letters, min_size=1, max_size=3)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
finite = st.floats(allow_nan=False, allow_infinity=False)
shapes = st.lists(st.sampled_from([-1, 1, 2, 3, 64]), min_size=1, max_size=3).map(tuple)


@st.composite
def tensors(draw: st.DrawFn, *, inputs: bool) -> tuple[TensorSpec, ...]:
    """One to three, of different names."""
    names = draw(st.lists(tensor_names, min_size=1, max_size=3, unique=True))
    return tuple(
        TensorSpec(name, draw(st.sampled_from(DATATYPES)), draw(shapes), draw(st.booleans()) if inputs else False)
        for name in names
    )


signatures = st.builds(Signature, tensors(inputs=True), tensors(inputs=False))

artifacts = st.builds(Artifact, st.sampled_from(ArtifactKind), digests, st.integers(0, 2**40))


def example_for(signature: Signature) -> str:
    """A request that the signature accepts."""
    rows = [(one.name, one.datatype, [abs(size) for size in one.shape]) for one in signature.inputs]
    tensors = [{"name": name, "datatype": kind, "shape": shape, "data": []} for name, kind, shape in rows]
    return json.dumps({"inputs": tensors})


@st.composite
def with_examples(draw: st.DrawFn) -> Contents:
    """Contents without anything that is optional, save perhaps an example and a parent below 10."""
    signature = draw(signatures)
    example = draw(st.none() | st.just(example_for(signature)))
    parent = draw(st.none() | st.integers(1, 9).map(VersionNumber))
    return Contents(draw(artifacts), signature, example=example, parent=parent)


any_contents = with_examples() | st.builds(
    Contents,
    artifacts,
    signatures,
    data=st.none() | st.builds(TrainingData, keys, st.integers(0, 2**40)),
    parameters=st.dictionaries(keys, texts | st.integers(-(2**53), 2**53) | finite | st.booleans(), max_size=3),
    metrics=st.dictionaries(keys, finite | st.integers(-1_000, 1_000), max_size=3),
    code_revision=texts,
    baseline_digest=st.none() | digests,
    tags=st.dictionaries(keys, texts, max_size=3),
)

versions = st.builds(
    Version,
    st.sampled_from(["digits", "fraud-2.x", "_a"]).map(ModelName),
    st.integers(10, LARGEST_VERSION).map(VersionNumber),
    any_contents,
    keys,
    st.integers(0, 2**42),
)
