"""A signature that Triton could not be told is refused in one sentence, and what can be told comes back as it was."""

import json
from typing import Any

import pytest
from hypothesis import given

from serving.triton.layout import ArtifactRefused
from serving.triton.signature import Signature, Tensor, read_signature
from tests.serving.triton.made import SIGNATURE, SIGNATURES

_WRONG_TENSORS: tuple[dict[str, Any], ...] = (
    {"name": 'x" }'},
    {"name": ""},
    {"datatype": "STRING"},
    {"datatype": "float32"},
    {"shape": []},
    {"shape": [0]},
    {"shape": [True]},
    {"shape": ["4"]},
    {"shape": 4},
    {"labels": "abc"},
    {"labels": ["a\nb"]},
    {"labels": ["only outputs have labels"]},
    {"optional": "yes"},
)


@given(SIGNATURES)
def test_what_is_written_is_read_again(signature: Signature) -> None:
    """Labels and what may be left out included."""
    assert read_signature(signature.text()) == signature


@pytest.mark.parametrize(
    "signature",
    [
        "text",
        [],
        {},
        {"inputs": [], "outputs": SIGNATURE["outputs"]},
        {"inputs": SIGNATURE["inputs"]},
        {"inputs": SIGNATURE["inputs"] * 2, "outputs": SIGNATURE["outputs"]},
        {"inputs": SIGNATURE["inputs"], "outputs": [SIGNATURE["outputs"][0] | {"optional": True}]},
        *[{"inputs": [SIGNATURE["inputs"][0] | change], "outputs": SIGNATURE["outputs"]} for change in _WRONG_TENSORS],
    ],
)
def test_a_wrong_signature_is_refused(signature: object) -> None:
    """A signature that lacks something, or says what Triton cannot, is refused in one sentence."""
    with pytest.raises(ArtifactRefused) as refused:
        read_signature(json.dumps(signature))
    assert "\n" not in str(refused.value)


def test_json_that_never_ends_is_refused() -> None:
    """Brackets without end are a sentence, not a traceback."""
    with pytest.raises(ArtifactRefused):
        read_signature("[" * 100_000)


def test_labels_come_from_whoever_knows_them() -> None:
    """Those of the other signature fill in, and replace none."""
    x, y, z = (Tensor(name, "FP32", (2,)) for name in "xyz")
    ours = Signature((x,), (y, Tensor("z", "FP32", (2,), ("mine", "too"))))
    theirs = Signature((x,), (Tensor("y", "FP32", (2,), ("a", "b")), Tensor("z", "FP32", (2,), ("c", "d"))))
    assert [one.labels for one in ours.labelled_as(theirs).outputs] == [("a", "b"), ("mine", "too")]
    assert Signature((x,), (z,)).labelled_as(Signature((x,), (y,))).outputs == (z,)
